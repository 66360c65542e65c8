#include "support/owned_columns.h"

namespace midigpt::tests {

encode::Shard OwnedColumns::shard() const {
  encode::Shard out;
  score::Columns& c = out.columns;
  c.resolution = resolution;
  c.num_pieces = static_cast<std::int64_t>(tempo.size());
  c.tempo = tempo.data();
  c.track_offsets = track_offsets.data();
  c.bar_offsets = bar_offsets.data();
  c.cell_offsets = cell_offsets.data();
  c.note_offsets = note_offsets.data();
  c.track_program = track_program.data();
  c.track_drum = track_drum.data();
  c.track_nomml = track_nomml.data();
  c.track_cell_end = track_cell_end.data();
  c.track_bar_end = bars_per_track ? track_bar_end.data() : nullptr;
  c.bar_numerator = bar_numerator.data();
  c.bar_denominator = bar_denominator.data();
  c.bar_length = bar_length.data();
  c.cell_bar = cell_bar.data();
  c.cell_note_end = cell_note_end.data();
  c.note_onset = note_onset.data();
  c.note_duration = note_duration.data();
  c.note_pitch = note_pitch.data();
  c.note_velocity = note_velocity.data();
  c.note_microtiming = note_microtiming.data();
  out.num_tracks = static_cast<std::int64_t>(track_program.size());
  out.num_bars = static_cast<std::int64_t>(bar_length.size());
  out.num_cells = static_cast<std::int64_t>(cell_bar.size());
  out.num_notes = static_cast<std::int64_t>(note_onset.size());
  return out;
}

void OwnedColumns::shrink_to_fit() {
  std::apply([](auto&... array) { (array.shrink_to_fit(), ...); }, arrays());
}

}  // namespace midigpt::tests
