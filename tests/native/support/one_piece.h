// One piece put together note by note.
#pragma once

#include <cstdint>
#include <vector>

#include "score/owned_columns.h"

namespace midigpt::tests {

class OnePiece : public score::OwnedColumns {
 public:
  OnePiece() {
    tempo = {500'000};
    update();
  }

  // With bars_per_track, to the last track.
  void add_bar(std::int32_t numerator, std::int32_t denominator) {
    bar_numerator.push_back(numerator);
    bar_denominator.push_back(denominator);
    bar_length.push_back(4.0 * numerator / denominator);
    if (bars_per_track) track_bar_end.back() = static_cast<std::int32_t>(bar_length.size());
    update();
  }

  void add_track(std::uint8_t program, bool drum, std::int8_t nomml = -1) {
    track_program.push_back(program);
    track_drum.push_back(drum ? 1 : 0);
    track_nomml.push_back(nomml);
    track_cell_end.push_back(static_cast<std::int32_t>(cell_bar.size()));
    track_bar_end.push_back(static_cast<std::int32_t>(bar_length.size()));
    update();
  }

  // To the last track, bars ascending.
  void add_note(std::int32_t bar, std::int32_t onset, std::int32_t duration, std::uint8_t pitch, std::uint8_t velocity,
                std::int32_t microtiming = 0) {
    const std::int32_t first_cell = track_cell_end.size() < 2 ? 0 : track_cell_end[track_cell_end.size() - 2];
    if (track_cell_end.back() == first_cell || cell_bar.back() != bar) {
      cell_bar.push_back(bar);
      cell_note_end.push_back(0);
      ++track_cell_end.back();
    }
    note_onset.push_back(onset);
    note_duration.push_back(duration);
    note_pitch.push_back(pitch);
    note_velocity.push_back(velocity);
    note_microtiming.push_back(microtiming);
    cell_note_end.back() = static_cast<std::int32_t>(note_onset.size());
    update();
  }

  // Pointers into this, until the next change.
  [[nodiscard]] score::Columns columns() const { return bounded().columns; }

 private:
  void update() {
    track_offsets = {0, static_cast<std::int64_t>(track_program.size())};
    bar_offsets = {0, static_cast<std::int64_t>(bar_length.size())};
    cell_offsets = {0, static_cast<std::int64_t>(cell_bar.size())};
    note_offsets = {0, static_cast<std::int64_t>(note_onset.size())};
  }
};

}  // namespace midigpt::tests
