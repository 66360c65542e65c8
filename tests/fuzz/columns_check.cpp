#include "fuzz/columns_check.h"

#include "fuzz/check.h"
#include "midi/limits.h"

namespace midigpt::fuzz {

namespace {

using score::Columns;
using score::ColumnStore;
using score::PieceView;
using score::Run;

void check_offsets(const ColumnStore::Array<std::int64_t>& offsets, std::size_t num_pieces, std::size_t end) {
  FUZZ_CHECK(offsets.size() == num_pieces + 1);
  FUZZ_CHECK(offsets[0] == 0);
  for (std::size_t i = 0; i < num_pieces; ++i) FUZZ_CHECK(offsets[i] <= offsets[i + 1]);
  FUZZ_CHECK(offsets[num_pieces] == static_cast<std::int64_t>(end));
}

void check_lengths(const ColumnStore& store, std::size_t num_pieces) {
  check_offsets(store.track_offsets, num_pieces, store.track_program.size());
  check_offsets(store.bar_offsets, num_pieces, store.bar_length.size());
  check_offsets(store.cell_offsets, num_pieces, store.cell_bar.size());
  check_offsets(store.note_offsets, num_pieces, store.note_pitch.size());
  FUZZ_CHECK(store.tempo.size() == num_pieces);
  FUZZ_CHECK(store.track_drum.size() == store.track_program.size());
  FUZZ_CHECK(store.track_nomml.size() == store.track_program.size());
  FUZZ_CHECK(store.track_cell_end.size() == store.track_program.size());
  FUZZ_CHECK(store.bar_numerator.size() == store.bar_length.size());
  FUZZ_CHECK(store.bar_denominator.size() == store.bar_length.size());
  FUZZ_CHECK(store.cell_note_end.size() == store.cell_bar.size());
  score::for_each_array(score::kNoteArrays,
                        [&](const char*, auto array) { FUZZ_CHECK((store.*array).size() == store.note_pitch.size()); });
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

}  // namespace

Columns view(const ColumnStore& store) {
  Columns columns;
  columns.num_pieces = static_cast<std::int64_t>(store.tempo.size());
  columns.tempo = store.tempo.data();
  columns.track_offsets = store.track_offsets.data();
  columns.bar_offsets = store.bar_offsets.data();
  columns.cell_offsets = store.cell_offsets.data();
  columns.note_offsets = store.note_offsets.data();
  columns.track_program = store.track_program.data();
  columns.track_drum = store.track_drum.data();
  columns.track_nomml = store.track_nomml.data();
  columns.track_cell_end = store.track_cell_end.data();
  columns.bar_numerator = store.bar_numerator.data();
  columns.bar_denominator = store.bar_denominator.data();
  columns.bar_length = store.bar_length.data();
  columns.cell_bar = store.cell_bar.data();
  columns.cell_note_end = store.cell_note_end.data();
  columns.note_onset = store.note_onset.data();
  columns.note_duration = store.note_duration.data();
  columns.note_pitch = store.note_pitch.data();
  columns.note_velocity = store.note_velocity.data();
  columns.note_microtiming = store.note_microtiming.data();
  return columns;
}

void check_columns(const ColumnStore& store, std::size_t num_pieces) {
  check_lengths(store, num_pieces);
  const Columns columns = view(store);
  for (std::int64_t piece = 0; piece < columns.num_pieces; ++piece) check_piece(columns, piece);
}

}  // namespace midigpt::fuzz
