// Columns of pieces that a test or a fuzzing target fills as it likes.
#pragma once

#include <cstdint>
#include <tuple>
#include <vector>

#include "encode/request.h"

namespace midigpt::tests {

// Columns of several pieces in vectors of exactly their length, so that a sanitizer sees any step beyond.
struct OwnedColumns {
  std::int32_t resolution = 480;
  std::vector<std::int32_t> tempo;
  std::vector<std::int64_t> track_offsets{0};
  std::vector<std::int64_t> bar_offsets{0};
  std::vector<std::int64_t> cell_offsets{0};
  std::vector<std::int64_t> note_offsets{0};
  std::vector<std::uint8_t> track_program;
  std::vector<std::uint8_t> track_drum;
  std::vector<std::int8_t> track_nomml;
  std::vector<std::int32_t> track_cell_end;
  std::vector<std::int32_t> track_bar_end;  // of use where bars_per_track
  std::vector<std::int32_t> bar_numerator;
  std::vector<std::int32_t> bar_denominator;
  std::vector<double> bar_length;
  std::vector<std::int32_t> cell_bar;
  std::vector<std::int32_t> cell_note_end;
  std::vector<std::int32_t> note_onset;
  std::vector<std::int32_t> note_duration;
  std::vector<std::uint8_t> note_pitch;
  std::vector<std::uint8_t> note_velocity;
  std::vector<std::int32_t> note_microtiming;
  bool bars_per_track = false;

  // Pointers into this, which must stay where it is.
  [[nodiscard]] encode::Shard shard() const;
  // Every column; the offsets first.
  [[nodiscard]] auto arrays() {
    return std::tie(track_offsets, bar_offsets, cell_offsets, note_offsets, tempo, track_program, track_drum,
                    track_nomml, track_cell_end, track_bar_end, bar_numerator, bar_denominator, bar_length, cell_bar,
                    cell_note_end, note_onset, note_duration, note_pitch, note_velocity, note_microtiming);
  }
  void shrink_to_fit();
};

}  // namespace midigpt::tests
