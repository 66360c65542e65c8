#include "score/write_midi.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/midi_bytes.h"
#include "support/one_piece.h"
#include "support/read_back.h"

namespace {

using namespace midigpt::score;
using namespace midigpt::tests;

OnePiece two_tracks() {
  OnePiece piece;
  piece.add_bar(4, 4);
  piece.add_bar(3, 8);
  piece.add_track(9, true);
  piece.add_note(0, 0, 120, 36, 100);
  piece.add_note(1, 0, 120, 38, 90);
  piece.add_track(25, false);
  piece.add_note(0, 480, 2000, 60, 80);  // held across the change of signature
  piece.add_note(0, 480, 10, 64, 80);
  return piece;
}

TEST_CASE("what is written reads back as the same score") {
  const OnePiece piece = two_tracks();
  Bytes file;
  REQUIRE(write_midi(piece.columns(), file) == nullptr);
  const ColumnStore read = read_back(file);
  CHECK(read.tempo[0] == 500'000);
  REQUIRE(read.track_program.size() == 2);
  // The melodic track is on channel 2, drums are on channel 10; each has a chunk of its own.
  CHECK(read.track_drum[0] == 1);
  CHECK(read.track_program[1] == 25);
  REQUIRE(read.bar_numerator.size() == 2);
  CHECK(read.bar_numerator[1] == 3);
  CHECK(read.bar_denominator[1] == 8);
  REQUIRE(read.note_pitch.size() == 4);
  CHECK(read.cell_bar[1] == 1);
  CHECK(read.note_velocity[1] == 90);
  CHECK(read.note_duration[2] == 2000);
  CHECK(read.note_onset[3] == 480);
}

TEST_CASE("a score without tracks is a chunk with a tempo") {
  OnePiece piece;
  piece.tempo = {250'000};
  Bytes file;
  REQUIRE(write_midi(piece.columns(), file) == nullptr);
  CHECK(read_back(file).tempo[0] == 250'000);
  CHECK(file[11] == 1);
}

TEST_CASE("sixteen melodic tracks share fifteen channels and leave out the drums'") {
  OnePiece piece;
  piece.add_bar(4, 4);
  for (int track = 0; track < 16; ++track) {
    piece.add_track(1, false);
    piece.add_note(0, 0, 10, 60, 80);
  }
  Bytes file;
  REQUIRE(write_midi(piece.columns(), file) == nullptr);
  const ColumnStore read = read_back(file);
  CHECK(read.track_drum.size() == 16);
  for (std::size_t track = 0; track < read.track_drum.size(); ++track) CHECK(read.track_drum[track] == 0);
}

TEST_CASE("tracks with bars of their own are placed by them; signatures are those of the longest") {
  OnePiece piece;
  piece.bars_per_track = true;
  piece.add_track(0, false);
  piece.add_bar(2, 4);
  piece.add_track(1, false);
  piece.add_bar(3, 4);
  piece.add_bar(3, 4);
  piece.add_note(1, 0, 10, 60, 80);
  Bytes file;
  REQUIRE(write_midi(piece.columns(), file) == nullptr);
  const ColumnStore read = read_back(file);
  CHECK(read.bar_numerator[0] == 3);
  CHECK(read.cell_bar[0] == 1);
}

TEST_CASE("what a MIDI file cannot say is said") {
  const auto problem = [](const OnePiece& piece) {
    Bytes file;
    const char* const text = write_midi(piece.columns(), file);
    return std::string(text == nullptr ? "" : text);
  };
  OnePiece piece = two_tracks();
  CHECK(problem(piece).empty());
  piece.resolution = 32'768;
  CHECK(problem(piece) == "its resolution is not within 1..32767");
  piece = two_tracks();
  piece.tempo = {1 << 24};
  CHECK(problem(piece) == "its tempo is not within 0..16777215");
  piece = two_tracks();
  piece.bar_denominator[1] = 6;
  CHECK(problem(piece).find("denominator that is no power of two") != std::string::npos);
  piece = two_tracks();
  piece.bar_numerator[0] = 256;
  CHECK(problem(piece).find("numerator above 255") != std::string::npos);
  piece = two_tracks();
  piece.note_duration[0] = 300'000'000;
  CHECK(problem(piece) == "two events of a track are more than 268435455 ticks apart");
  piece = OnePiece();
  for (int track = 0; track < 65'536; ++track) piece.add_track(0, false);
  CHECK(problem(piece) == "it has more than 65535 tracks");
}

}  // namespace
