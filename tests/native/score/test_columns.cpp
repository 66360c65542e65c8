#include "score/columns.h"

#include <doctest/doctest.h>

#include <array>
#include <utility>

#include "score/column_store.h"
#include "support/one_piece.h"

namespace {

using namespace midigpt::score;
using midigpt::tests::OnePiece;

// Two pieces of two tracks each: bars 0..1 shared in the first; cells and notes as the ends say.
struct Fixture {
  std::array<std::int64_t, 3> track_offsets{0, 2, 4};
  std::array<std::int64_t, 3> bar_offsets{0, 2, 5};
  std::array<std::int64_t, 3> cell_offsets{0, 3, 4};
  std::array<std::int64_t, 3> note_offsets{0, 6, 9};
  std::array<std::int32_t, 4> track_cell_end{2, 3, 0, 1};
  std::array<std::int32_t, 4> track_bar_end{1, 2, 1, 3};
  std::array<std::int32_t, 4> cell_note_end{1, 4, 6, 3};
  Columns columns;

  Fixture() {
    columns.num_pieces = 2;
    columns.track_offsets = track_offsets.data();
    columns.bar_offsets = bar_offsets.data();
    columns.cell_offsets = cell_offsets.data();
    columns.note_offsets = note_offsets.data();
    columns.track_cell_end = track_cell_end.data();
    columns.cell_note_end = cell_note_end.data();
  }
};

bool is(Run run, std::int64_t begin, std::int64_t end) { return run.begin == begin && run.end == end; }

TEST_CASE_FIXTURE(Fixture, "runs start where the one before ends, from piece to piece") {
  const PieceView first(columns, 0);
  const PieceView second(columns, 1);
  CHECK(first.num_tracks() == 2);
  CHECK(second.track_index(1) == 3);
  CHECK(is(first.cells(0), 0, 2));
  CHECK(is(first.cells(1), 2, 3));
  CHECK(is(second.cells(0), 3, 3));
  CHECK(is(second.cells(1), 3, 4));
  CHECK(is(first.notes(0), 0, 1));
  CHECK(is(first.notes(1), 1, 4));
  CHECK(is(second.notes(3), 6, 9));
  CHECK(second.cells(1).size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "bars are the piece's, or each track's own") {
  CHECK(is(PieceView(columns, 0).bars(1), 0, 2));
  columns.track_bar_end = track_bar_end.data();
  CHECK(is(PieceView(columns, 0).bars(0), 0, 1));
  CHECK(is(PieceView(columns, 0).bars(1), 1, 2));
  CHECK(is(PieceView(columns, 1).bars(0), 2, 3));
  CHECK(is(PieceView(columns, 1).bars(1), 3, 5));
}

TEST_CASE("parts that are put into a store keep their pieces and their notes, in any order") {
  ColumnStore part;
  part.track_program.push_back(7);
  part.note_pitch.push_back(60);
  part.note_onset.push_back(1);
  part.note_duration.push_back(2);
  part.note_velocity.push_back(3);
  part.note_microtiming.push_back(4);
  part.end_piece(400'000);
  ColumnStore whole;
  whole.reserve_notes(2);
  const ColumnStore other = std::move(part);
  part = ColumnStore();
  part.track_program.push_back(8);
  part.note_pitch.push_back(61);
  part.note_onset.push_back(5);
  part.note_duration.push_back(6);
  part.note_velocity.push_back(7);
  part.note_microtiming.push_back(-4);
  part.end_piece(500'000);
  const ColumnStore::Sizes first = whole.sizes();
  const ColumnStore::Sizes second = other.sizes();
  ColumnStore::Sizes end = second;
  for (std::size_t i = 0; i < end.size(); ++i) end[i] += part.sizes()[i];
  whole.append_offsets(other);
  whole.append_offsets(part);
  whole.resize_values(end);
  whole.put(part, second);
  whole.put(other, first);
  whole.shrink_to_fit();
  REQUIRE(whole.note_pitch.size() == 2);
  CHECK(whole.note_pitch[0] == 60);
  CHECK(whole.note_microtiming[0] == 4);
  CHECK(whole.note_microtiming[1] == -4);
  CHECK(whole.track_program[1] == 8);
  CHECK(whole.track_offsets[2] == 2);
  CHECK(whole.note_offsets[1] == 1);
  CHECK(whole.tempo[0] == 400'000);
  CHECK(whole.tempo[1] == 500'000);
  whole.clear();
  CHECK(whole.tempo.empty());
  CHECK(whole.bar_offsets.size() == 1);
}

TEST_CASE("only a piece whose runs lie within the columns is sound") {
  OnePiece good;
  for (int bar = 0; bar < 8; ++bar) good.add_bar(4, 4);
  for (int track = 0; track < 3; ++track) {
    good.add_track(0, false);
    for (int bar = 0; bar < 4; ++bar) good.add_note(bar + track, 0, 10, 60, 80);
  }
  const auto sound = [](const OnePiece& source) {
    const auto bounded = source.bounded();
    return bounded.is_sound({bounded.columns, 0});
  };
  CHECK(sound(good));
  OnePiece bad = good;
  bad.track_cell_end[2] = 99;
  CHECK_FALSE(sound(bad));
  bad = good;
  bad.track_cell_end[1] = 1;
  CHECK_FALSE(sound(bad));
  bad = good;
  bad.cell_offsets[1] = 1000;
  CHECK_FALSE(sound(bad));
  bad = good;
  bad.track_offsets[0] = -1;
  CHECK_FALSE(sound(bad));
  bad = good;
  bad.bars_per_track = true;
  bad.track_bar_end[0] = 9;
  CHECK_FALSE(sound(bad));
}

}  // namespace
