#include "score/splice_midi.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "midi/events.h"
#include "support/midi_bytes.h"
#include "support/read_back.h"

namespace {

using namespace midigpt::score;
using namespace midigpt::tests;

struct AddedNotes {
  std::vector<std::int32_t> track, bar, onset, duration, microtiming;
  std::vector<std::uint8_t> pitch, velocity;

  void add(std::int32_t in_track, std::int32_t in_bar, std::int32_t at, std::int32_t ticks, std::uint8_t key) {
    track.push_back(in_track);
    bar.push_back(in_bar);
    onset.push_back(at);
    duration.push_back(ticks);
    microtiming.push_back(0);
    pitch.push_back(key);
    velocity.push_back(70);
  }
};

struct Change {
  std::vector<std::uint8_t> removed;
  AddedNotes notes;
  std::vector<std::uint8_t> new_program, new_drum;
  std::vector<std::int32_t> numerator, denominator;
  std::int32_t tempo = 500'000;

  explicit Change(const Bytes& file) {
    const ColumnStore columns = read_back(file);
    removed.assign(columns.note_pitch.size(), 0);
    const auto numerators = columns.bar_numerator.from(0);
    const auto denominators = columns.bar_denominator.from(0);
    numerator.assign(numerators.begin(), numerators.end());
    denominator.assign(denominators.begin(), denominators.end());
    tempo = columns.tempo[0];
  }

  [[nodiscard]] Edit edit() const {
    return {.removed = removed,
            .track = notes.track,
            .bar = notes.bar,
            .onset = notes.onset,
            .duration = notes.duration,
            .pitch = notes.pitch,
            .velocity = notes.velocity,
            .microtiming = notes.microtiming,
            .new_program = new_program,
            .new_drum = new_drum,
            .numerator = numerator,
            .denominator = denominator,
            .tempo = tempo};
  }
};

Spliced spliced(const Bytes& bytes, const Change& change) {
  Spliced out;
  const char* const problem = splice_midi(bytes, change.edit(), out);
  INFO(std::string(problem == nullptr ? "" : problem));
  REQUIRE(problem == nullptr);
  return out;
}

std::string problem_of(const Bytes& bytes, const Change& change) {
  Spliced out;
  const char* const problem = splice_midi(bytes, change.edit(), out);
  return problem == nullptr ? "" : problem;
}

TEST_CASE("an edit without changes gives the same bytes") {
  const Bytes bytes = header(2) + chunk(note(0, 60, 0, 480)) + Bytes{'X', 'Y', 'Z', 'W', 0, 0, 0, 1, 7} +
                      chunk(tempo(0, 400'000) + note(1, 62, 0, 480)) + Bytes{1, 2, 3};
  CHECK(spliced(bytes, Change(bytes)).bytes == bytes);
}

TEST_CASE("a replaced note leaves the events around it alone, with a status byte where the one before is gone") {
  const Bytes bytes = file(Bytes{0, 0xB0, 64, 127, 0, 0x90, 60, 80, 96, 62, 81, 0, 60, 0, 0, 62, 0, 0, 0xFF, 0x2F, 0});
  Change change(bytes);
  change.removed[0] = 1;
  change.notes.add(0, 0, 0, 48, 72);
  CHECK(spliced(bytes, change).bytes ==
        file(Bytes{0, 0xB0, 64, 127, 0, 0x90, 72, 70, 48, 0x80, 72, 70, 48, 0x90, 62, 81, 0, 62, 0, 0, 0xFF, 0x2F, 0}));
}

TEST_CASE("delta times that keep their value keep their bytes") {
  const Bytes bytes = file(Bytes{0x80, 0x00, 0x90, 60, 80, 0x80, 0x60, 60, 0} + note(0, 62, 0, 96));
  Change change(bytes);
  change.removed[1] = 1;
  CHECK(spliced(bytes, change).bytes == file(Bytes{0x80, 0x00, 0x90, 60, 80, 0x80, 0x60, 60, 0}));
}

TEST_CASE("system messages keep their bytes, and one under running status must keep its place") {
  const Bytes sysex{0, 0xF0, 2, 1, 0xF7};
  const Bytes bytes = file(sysex + note(0, 60, 0, 96) + Bytes{0, 0xF2, 1, 2, 0, 0xF3, 1, 0, 0xF8} + note(0, 62, 0, 96));
  Change change(bytes);
  change.removed[0] = 1;
  const Bytes expected = file(sysex + Bytes{96, 0xF2, 1, 2, 0, 0xF3, 1, 0, 0xF8} + note(0, 62, 0, 96));
  CHECK(spliced(bytes, change).bytes == expected);

  const Bytes relying = file(note(0, 60, 0, 96) + Bytes{0, 0xF1, 1, 96, 2});
  Change between(relying);
  between.notes.add(0, 0, 120 * 4, 20, 64);  // at tick 480, behind both
  CHECK(problem_of(relying, between).empty());
  Change before(relying);
  before.notes.add(0, 0, 140, 20, 64);  // between the message and the one that relies on its status
  CHECK(problem_of(relying, before).find("relies on the bytes around it") != std::string::npos);
}

TEST_CASE("an event that is read on into the next one keeps its place or is refused") {
  const Bytes bytes = file(Bytes{0, 0xFF, 0x51, 2, 1, 2} + note(0, 60, 0, 480));
  CHECK(spliced(bytes, Change(bytes)).bytes == bytes);
  Change change(bytes);
  change.removed[0] = 1;
  CHECK(problem_of(bytes, change).find("relies on the bytes around it") != std::string::npos);
  const Bytes signature = file(Bytes{0, 0xFF, 0x58, 1, 4} + note(0, 60, 2, 480));
  Change other(signature);
  other.removed[0] = 1;
  CHECK(problem_of(signature, other).find("relies on the bytes around it") != std::string::npos);
}

TEST_CASE("tracks, bars, signatures and the tempo") {
  const Bytes bytes = header(1, 480, 0) + chunk(time_signature(0, 4, 2) + tempo(0, 400'000) + note(0, 60, 0, 480));
  Change change(bytes);
  change.removed[0] = 1;
  change.new_program = {33, 0, 5};
  change.new_drum = {0, 1, 0};
  change.numerator = {3, 4, 4};
  change.denominator = {4, 4, 4};
  change.tempo = 300'000;
  change.notes.add(1, 2, 0, 480, 40);
  change.notes.add(2, 1, 240, 480, 36);
  const Spliced out = spliced(bytes, change);
  CHECK(out.became_format_1);
  const ColumnStore read = read_back(out.bytes);
  CHECK(read.tempo[0] == 300'000);
  REQUIRE(read.track_program.size() == 4);
  CHECK(read.track_drum[2] == 1);
  REQUIRE(read.bar_numerator.size() == 3);
  CHECK(read.bar_numerator[0] == 3);
  CHECK(read.bar_numerator[1] == 4);
  REQUIRE(read.note_pitch.size() == 2);
  CHECK(read.note_pitch[0] == 40);
  CHECK(read.note_onset[1] == 240);
}

TEST_CASE("ports when channels are taken") {
  Bytes all;
  for (std::uint8_t channel = 0; channel < 16; ++channel) all = all + note(channel, 60, 0, 10);
  const Bytes bytes = file(all);
  Change change(bytes);
  change.new_program.assign(16, 1);
  change.new_drum.assign(16, 0);
  const Spliced out = spliced(bytes, change);
  CHECK(out.tracks_on_ports.size() == 16);
  CHECK(read_back(out.bytes).track_program.size() == 32);
  change.new_program.assign(15 * 128, 1);
  change.new_drum.assign(15 * 128, 0);
  CHECK(problem_of(bytes, change) == "no port is left for its tracks");
}

TEST_CASE("notes that have no place are counted") {
  const Bytes cut = file(note(0, 60, 0, 480) + time_signature(0, 3, 2) + note(0, 62, 0, 480));
  Change beyond(cut);
  beyond.notes.add(0, 0, 600, 10, 64);
  CHECK(spliced(cut, beyond).beyond_bar == 1);
  const Bytes hanging = file(Bytes{0, 0x90, 60, 80} + note(0, 62, 0, 480));
  Change after(hanging);
  after.notes.add(0, 0, 100, 10, 60);
  CHECK(spliced(hanging, after).after_unclosed == 1);
}

TEST_CASE("what cannot be done is said") {
  const Bytes bytes = file(note(0, 60, 0, 480));
  CHECK(problem_of(Bytes{1, 2, 3}, Change(bytes)) == "the file cannot be read");
  Change change(bytes);
  change.removed.push_back(0);
  CHECK(problem_of(bytes, change) == "the file has other notes than the score that was edited");
  change = Change(bytes);
  change.tempo = -1;
  CHECK(problem_of(bytes, change) == "its tempo is not within 0..16777215");
  change = Change(bytes);
  change.notes.add(3, 0, 0, 10, 60);
  CHECK(problem_of(bytes, change) == "a note belongs to a track that there is not");
  change = Change(bytes);
  change.numerator[0] = 300;
  CHECK(problem_of(bytes, change).find("numerator above 255") != std::string::npos);
  change.numerator[0] = 0;
  CHECK(problem_of(bytes, change) == "a bar would be shorter than a tick");
  change = Change(bytes);
  change.numerator.resize(100'000, 255);
  change.denominator.resize(100'000, 1);
  CHECK(problem_of(bytes, change) == "the piece would become longer than 2147483646 ticks");
  change = Change(bytes);
  change.new_program.assign(70'000, 0);
  change.new_drum.assign(70'000, 1);
  CHECK(problem_of(bytes, change) == "it would have more than 65535 tracks");
}

TEST_CASE("a cursor ends where the bytes are no event") {
  midigpt::midi::Event event;
  for (const Bytes& bytes : {Bytes{}, Bytes{0}, Bytes{0x80}, Bytes{0, 60, 1}, Bytes{0, 0xFF}, Bytes{0, 0xFF, 1, 0x80},
                             Bytes{0, 0xFF, 1, 5, 0}, Bytes{0, 0x90, 60}, Bytes{0, 0xF0, 0x80}}) {
    midigpt::midi::EventCursor cursor(bytes, 0, bytes.size());
    CHECK_FALSE(cursor.next(event));
    CHECK(cursor.position() == 0);
  }
}

}  // namespace
