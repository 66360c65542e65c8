// The bars of a file: where they start, in the file's ticks and in the score's.
#pragma once

#include <cmath>
#include <cstdint>

#include "midi/reader.h"

namespace midigpt::score {

inline constexpr std::int32_t kResolution = 480;  // ticks per quarter of every score read from a file

struct Bar {
  std::int64_t first_tick = 0;  // in the file
  std::int32_t start = 0;       // at kResolution
  std::int32_t length = 0;      // at kResolution, nominal: a bar cut short by a time signature keeps it
  double quarters = 0;          // nominal length
  std::int32_t numerator = 0;
  std::int32_t denominator = 0;
};

struct BarGrid {
  // One more than there are bars: the last only ends the search for a tick's bar.
  midi::GrowingArray<Bar> bars;
  midi::GrowingArray<midi::TimeSignature> signatures;  // sorted, one per tick

  [[nodiscard]] std::size_t size() const { return bars.size() - 1; }
};

// Fails where bars, or ticks at kResolution, are too many, and where no bar has a length.
midi::Outcome build(const midi::File& file, BarGrid& grid);

// The last bar that starts at or before `tick`, given that it is bar `from` or later.
std::size_t later_bar_at(const BarGrid& grid, std::size_t from, std::int64_t tick);

inline std::size_t bar_at(const BarGrid& grid, std::size_t from, std::int64_t tick) {
  // Whether a note is in the next bar cannot be foretold, so that a branch would often be taken in vain.
  const std::size_t bar = from + (tick < grid.bars[from + 1].first_tick ? 0 : 1);
  return tick < grid.bars[bar + 1].first_tick ? bar : later_bar_at(grid, bar + 1, tick);
}

// Nearest integer, halves away from zero, without C's call or a branch. Adding the largest double below one half, not
// one half itself, keeps 0.49999999999999994 at 0; exact for every value below 2^52 that an Integer holds.
template <class Integer>
Integer round_away(double value) {
  constexpr double kBelowHalf = 0x1.fffffffffffffp-2;
  return static_cast<Integer>(value + std::copysign(kBelowHalf, value));
}

}  // namespace midigpt::score
