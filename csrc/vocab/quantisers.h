// Scalar arithmetic that turns music into token values and back (docs/encoder-specification.md, A.7 and D).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace midigpt::vocab {

// Rounds halves to even (the default rounding mode), and takes what does not fit to the nearest limit, NaN to 0.
inline std::int64_t round_even(double value) {
  constexpr double limit = 9.0e18;
  if (!(value > -limit)) return value <= -limit ? static_cast<std::int64_t>(-limit) : 0;
  return static_cast<std::int64_t>(std::nearbyint(std::min(value, limit)));
}

inline std::int32_t saturate(double value) {
  constexpr double low = std::numeric_limits<std::int32_t>::min();
  constexpr double high = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::min(std::max(value, low), high));
}

// The position of a note on a grid.
struct GridNote {
  std::int32_t onset = 0;
  std::int32_t duration = 0;
  std::int32_t delta = 0;  // 1/resolution of a tick
};

// Moves notes from one grid to another, never to another bar (A.7). Truncates, it does not round: at 12 ticks per
// quarter every onset goes down to its cell, which the released models were trained on.
class Resampler {
 public:
  Resampler(std::int32_t from, std::int32_t to, bool use_delta)
      : from_(from), to_(to), ratio_(static_cast<double>(to) / from), use_delta_(use_delta), identity_(from == to) {}

  [[nodiscard]] GridNote operator()(std::int32_t onset, std::int32_t duration, std::int32_t delta) const {
    if (identity_) return {std::max(0, onset), std::max(1, duration), delta};
    const std::int32_t new_duration = std::max(1, saturate(to_ * duration / from_));
    if (!use_delta_) return {std::max(0, saturate(to_ * onset / from_)), new_duration, 0};
    const double position = (onset + delta / from_) * ratio_;
    const std::int32_t cell = std::max(0, saturate(position));
    return {cell, new_duration, saturate(std::nearbyint((position - cell) * to_))};
  }

  // The corrected form: to the nearest cell up to `last_cell`, with the rest as a signed delta, at most half a cell
  // except after the last one. Cell and delta come from one whole number, so a note that comes back finds its cell.
  [[nodiscard]] GridNote nearest(std::int32_t onset, std::int32_t duration, std::int32_t delta,
                                 std::int32_t last_cell) const {
    const auto parts_per_cell = static_cast<std::int64_t>(to_);
    const std::int64_t parts = round_even((onset + delta / from_) * ratio_ * to_);
    const std::int64_t cell = std::max<std::int64_t>(0, parts + parts_per_cell / 2) / parts_per_cell;
    const auto kept = static_cast<std::int32_t>(std::min<std::int64_t>(cell, last_cell));
    const std::int64_t rest = parts - kept * parts_per_cell;
    return {kept, std::max(1, saturate(to_ * duration / from_)), saturate(static_cast<double>(rest))};
  }

 private:
  double from_;
  double to_;
  double ratio_;
  bool use_delta_;
  bool identity_;
};

// MIDI velocities in `levels` levels (D.1); level 0 is silence.
class VelocityLevels {
 public:
  explicit VelocityLevels(std::int32_t levels) : levels_(levels) {
    for (std::int32_t velocity = 0; velocity < 256; ++velocity) {
      level_of_[static_cast<std::size_t>(velocity)] = quantise(velocity);
    }
  }

  [[nodiscard]] std::int32_t level(std::uint8_t velocity) const { return level_of_[velocity]; }

  // The second smallest velocity of a level, or its only one, or 0 if none has that level.
  [[nodiscard]] std::int32_t velocity(std::int32_t level) const {
    std::int32_t found = 0;
    for (std::int32_t velocity = 1; velocity < 128; ++velocity) {
      if (level_of_[static_cast<std::size_t>(velocity)] != level) continue;
      if (found != 0) return velocity;
      found = velocity;
    }
    return found;
  }

 private:
  [[nodiscard]] std::int32_t quantise(std::int32_t velocity) const {
    if (velocity <= 0) return 0;
    if (velocity >= 127) return levels_ - 1;
    return std::min(1 + static_cast<std::int32_t>(std::int64_t{velocity} * (levels_ - 1) / 128), levels_ - 1);
  }

  std::int32_t levels_;
  std::array<std::int32_t, 256> level_of_{};
};

}  // namespace midigpt::vocab
