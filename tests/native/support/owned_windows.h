// Windows and their requests that a test or a fuzzing target fills as it likes.
#pragma once

#include <cstdint>
#include <tuple>
#include <vector>

#include "encode/request.h"

namespace midigpt::tests {

// As encode::Windows.
struct OwnedWindows {
  std::int64_t count = 0;
  std::int64_t max_tracks = 0;
  std::int64_t max_bars = 0;
  std::vector<std::int64_t> piece;
  std::vector<std::int32_t> start_bar;
  std::vector<std::int32_t> num_bars;
  std::vector<std::int32_t> tracks;
  std::vector<std::uint8_t> infill;
  std::vector<std::uint8_t> masked;
  std::vector<std::int32_t> window_bars;
  std::vector<std::int32_t> transpose;
  std::vector<double> velocity_scale;
  std::vector<std::int32_t> genre;
  std::vector<std::int8_t> use_velocity;
  std::vector<std::int8_t> use_microtiming;
  std::vector<std::int32_t> partial_track;
  std::vector<std::int32_t> partial_bars;
  std::vector<std::uint8_t> masked_as;
  std::vector<std::uint8_t> attributes_kept;   // of use where keeps_some
  std::vector<std::int16_t> attribute_values;  // of use where gives_values
  std::vector<std::int32_t> max_tokens;
  bool keeps_some = false;
  bool gives_values = false;
  bool compute_attributes = true;

  // Pointers into this, which must stay where it is.
  [[nodiscard]] encode::Windows view() const;
  [[nodiscard]] auto arrays() {
    return std::tie(piece, start_bar, num_bars, tracks, infill, masked, window_bars, transpose, velocity_scale, genre,
                    use_velocity, use_microtiming, partial_track, partial_bars, masked_as, attributes_kept,
                    attribute_values, max_tokens);
  }
  void shrink_to_fit();
};

}  // namespace midigpt::tests
