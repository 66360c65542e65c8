#include "fuzz/columns_check.h"

#include <array>
#include <cstdint>
#include <iterator>
#include <vector>

#include "fuzz/check.h"
#include "midi/limits.h"

namespace midigpt::fuzz {

namespace {

constexpr std::int32_t kResolution = 480;  // of what the reader makes

using score::Columns;
using score::ColumnStore;
using score::Level;
using score::PieceView;
using score::Run;

void check_offsets(const auto& offsets, std::size_t num_pieces, std::size_t end) {
  FUZZ_CHECK(offsets.size() == num_pieces + 1);
  FUZZ_CHECK(offsets[0] == 0);
  for (std::size_t i = 0; i < num_pieces; ++i) FUZZ_CHECK(offsets[i] <= offsets[i + 1]);
  FUZZ_CHECK(offsets[num_pieces] == static_cast<std::int64_t>(end));
}

void check_lengths(const auto& columns, std::size_t num_pieces, bool bars_per_track) {
  std::array<std::size_t, score::kLevels> lengths{};
  const auto length = [&](Level level) -> std::size_t& { return lengths.at(score::index_of(level)); };
  length(Level::Offsets) = num_pieces + 1;
  length(Level::Piece) = num_pieces;
  length(Level::Track) = columns.track_program.size();
  length(Level::Bar) = columns.bar_length.size();
  length(Level::Cell) = columns.cell_bar.size();
  length(Level::Note) = columns.note_pitch.size();
  score::for_each_column(columns, [&](auto column, const auto& array) {
    FUZZ_CHECK(array.size() == (column.may_be_missing() && !bars_per_track ? 0 : length(column.kLevel)));
  });
  check_offsets(columns.track_offsets, num_pieces, length(Level::Track));
  check_offsets(columns.bar_offsets, num_pieces, length(Level::Bar));
  check_offsets(columns.cell_offsets, num_pieces, length(Level::Cell));
  check_offsets(columns.note_offsets, num_pieces, length(Level::Note));
}

void check_note(const Columns& columns, std::int64_t note, std::int64_t bar) {
  const double bar_ticks = columns.bar_length[bar] * columns.resolution;
  FUZZ_CHECK(columns.note_onset[note] >= 0);
  FUZZ_CHECK(columns.note_onset[note] < bar_ticks + 0.5);
  FUZZ_CHECK(columns.note_duration[note] >= 1);
  FUZZ_CHECK(columns.note_pitch[note] <= 127);
  FUZZ_CHECK(columns.note_velocity[note] >= 1 && columns.note_velocity[note] <= 127);
  FUZZ_CHECK(2 * std::abs(columns.note_microtiming[note]) <= columns.resolution);
}

// Cells ascend by bar, hold at least one note each, and together hold all notes of the piece.
void check_piece(const Columns& columns, std::int64_t index) {
  const PieceView piece(columns, index);
  std::int64_t next_cell = columns.cell_offsets[index];
  std::int64_t next_note = columns.note_offsets[index];
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    const std::int64_t at = piece.track_index(track);
    FUZZ_CHECK(columns.track_program[at] <= 127);
    FUZZ_CHECK(columns.track_drum[at] <= 1);
    FUZZ_CHECK(columns.track_nomml[at] == -1);
    const Run bars = piece.bars(track);
    const Run cells = piece.cells(track);
    FUZZ_CHECK(cells.begin == next_cell && cells.size() >= 0);
    std::int64_t before = -1;
    for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
      const std::int64_t bar = columns.cell_bar[cell];
      const Run notes = piece.notes(cell);
      FUZZ_CHECK(bar > before && bar < bars.size());
      FUZZ_CHECK(notes.begin == next_note && notes.size() >= 1);
      for (std::int64_t note = notes.begin; note < notes.end; ++note) check_note(columns, note, bars.begin + bar);
      before = bar;
      next_note = notes.end;
    }
    next_cell = cells.end;
  }
  FUZZ_CHECK(next_cell == columns.cell_offsets[index + 1]);
  FUZZ_CHECK(next_note == columns.note_offsets[index + 1]);
  FUZZ_CHECK(piece.num_tracks() <= midi::kMaxTracks);
  FUZZ_CHECK(columns.bar_offsets[index + 1] - columns.bar_offsets[index] <= midi::kMaxBars);
  FUZZ_CHECK(columns.note_offsets[index + 1] - columns.note_offsets[index] <= midi::kMaxNotes);
}

void check_ends(const std::vector<std::int32_t>& ends, std::int64_t limit) {
  std::int64_t before = 0;
  for (const std::int32_t end : ends) {
    FUZZ_CHECK(end >= before);
    before = end;
  }
  FUZZ_CHECK(before == limit);
}

void check_decoded_note(const Columns& columns, std::int64_t note) {
  FUZZ_CHECK(columns.note_onset[note] >= 0);
  FUZZ_CHECK(columns.note_duration[note] >= 1);
  FUZZ_CHECK(columns.note_pitch[note] <= 127);
  // 0 where the vocabulary has more levels than there are velocities.
  FUZZ_CHECK(columns.note_velocity[note] <= 127);
}

}  // namespace

Columns view(const ColumnStore& store) { return store.bounded(kResolution, false).columns; }

void check_columns(const ColumnStore& store, std::size_t num_pieces) {
  check_lengths(store, num_pieces, false);
  const Columns columns = view(store);
  for (std::int64_t piece = 0; piece < columns.num_pieces; ++piece) check_piece(columns, piece);
}

void check_decoded(const decode::DecodedScore& score) {
  const Columns c = score.bounded().columns;
  check_lengths(score, 1, true);
  FUZZ_CHECK(score.track_attributes.size() == score.track_program.size());
  check_ends(score.track_cell_end, std::ssize(score.cell_bar));
  check_ends(score.track_bar_end, std::ssize(score.bar_length));
  check_ends(score.cell_note_end, std::ssize(score.note_onset));
  const PieceView piece(c, 0);
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    FUZZ_CHECK(c.track_program[track] <= 127);
    const Run cells = piece.cells(track);
    for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
      FUZZ_CHECK(c.cell_bar[cell] >= 0 && c.cell_bar[cell] < piece.bars(track).size());
      FUZZ_CHECK(cell == cells.begin || c.cell_bar[cell] > c.cell_bar[cell - 1]);
    }
  }
  for (std::int64_t note = 0; note < std::ssize(score.note_onset); ++note) check_decoded_note(c, note);
  for (const double quarters : score.bar_length) FUZZ_CHECK(quarters >= 0 && quarters <= 1e6);
}

}  // namespace midigpt::fuzz
