#include "fuzz/decoded_columns.h"

#include "fuzz/check.h"

namespace midigpt::fuzz {

namespace {

using score::Columns;
using score::PieceView;
using score::Run;

std::int64_t length(const auto& values) { return static_cast<std::int64_t>(values.size()); }

void check_ends(const std::vector<std::int32_t>& ends, std::int64_t limit) {
  std::int64_t before = 0;
  for (const std::int32_t end : ends) {
    FUZZ_CHECK(end >= before);
    before = end;
  }
  FUZZ_CHECK(before == limit);
}

void check_note(const Columns& columns, std::int64_t note) {
  FUZZ_CHECK(columns.note_onset[note] >= 0);
  FUZZ_CHECK(columns.note_duration[note] >= 1);
  FUZZ_CHECK(columns.note_pitch[note] <= 127);
  // 0 where the vocabulary has more levels than there are velocities.
  FUZZ_CHECK(columns.note_velocity[note] <= 127);
}

}  // namespace

DecodedColumns::DecodedColumns(const decode::DecodedScore& score)
    : tracks_{0, length(score.track_program)},
      bars_{0, length(score.bar_length)},
      cells_{0, length(score.cell_bar)},
      notes_{0, length(score.note_onset)},
      nomml_(score.track_program.size(), -1) {
  Columns& c = shard_.columns;
  c.resolution = score.resolution;
  c.num_pieces = 1;
  c.tempo = &kTempo;
  c.track_offsets = tracks_.data();
  c.bar_offsets = bars_.data();
  c.cell_offsets = cells_.data();
  c.note_offsets = notes_.data();
  c.track_program = score.track_program.data();
  c.track_drum = score.track_drum.data();
  c.track_nomml = nomml_.data();
  c.track_cell_end = score.track_cell_end.data();
  c.track_bar_end = score.track_bar_end.data();
  c.bar_numerator = score.bar_numerator.data();
  c.bar_denominator = score.bar_denominator.data();
  c.bar_length = score.bar_length.data();
  c.cell_bar = score.cell_bar.data();
  c.cell_note_end = score.cell_note_end.data();
  c.note_onset = score.note_onset.data();
  c.note_duration = score.note_duration.data();
  c.note_pitch = score.note_pitch.data();
  c.note_velocity = score.note_velocity.data();
  c.note_microtiming = score.note_microtiming.data();
  shard_.num_tracks = tracks_[1];
  shard_.num_bars = bars_[1];
  shard_.num_cells = cells_[1];
  shard_.num_notes = notes_[1];
}

void check_decoded(const decode::DecodedScore& score, const DecodedColumns& columns) {
  const Columns& c = columns.columns();
  FUZZ_CHECK(score.track_drum.size() == score.track_program.size());
  FUZZ_CHECK(score.track_attributes.size() == score.track_program.size());
  FUZZ_CHECK(score.track_cell_end.size() == score.track_program.size());
  FUZZ_CHECK(score.track_bar_end.size() == score.track_program.size());
  FUZZ_CHECK(score.bar_numerator.size() == score.bar_length.size());
  FUZZ_CHECK(score.bar_denominator.size() == score.bar_length.size());
  FUZZ_CHECK(score.cell_note_end.size() == score.cell_bar.size());
  check_ends(score.track_cell_end, length(score.cell_bar));
  check_ends(score.track_bar_end, length(score.bar_length));
  check_ends(score.cell_note_end, length(score.note_onset));
  const PieceView piece(c, 0);
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    FUZZ_CHECK(c.track_program[track] <= 127);
    const Run cells = piece.cells(track);
    for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
      FUZZ_CHECK(c.cell_bar[cell] >= 0 && c.cell_bar[cell] < piece.bars(track).size());
      FUZZ_CHECK(cell == cells.begin || c.cell_bar[cell] > c.cell_bar[cell - 1]);
    }
  }
  for (std::int64_t note = 0; note < length(score.note_onset); ++note) check_note(c, note);
  for (const double quarters : score.bar_length) FUZZ_CHECK(quarters >= 0 && quarters <= 1e6);
}

}  // namespace midigpt::fuzz
