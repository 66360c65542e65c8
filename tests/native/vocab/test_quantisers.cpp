#include "vocab/quantisers.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

namespace {

using namespace midigpt::vocab;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int32_t kLargest = std::numeric_limits<std::int32_t>::max();

TEST_CASE("rounding to even takes any double") {
  CHECK(round_even(0.5) == 0);
  CHECK(round_even(1.5) == 2);
  CHECK(round_even(-2.5) == -2);
  CHECK(round_even(std::nan("")) == 0);
  CHECK(round_even(kInfinity) == 9'000'000'000'000'000'000);
  CHECK(round_even(-kInfinity) == -9'000'000'000'000'000'000);
}

TEST_CASE("saturating truncates and stops at the limits") {
  CHECK(saturate(2.9) == 2);
  CHECK(saturate(-2.9) == -2);
  CHECK(saturate(1e300) == kLargest);
  CHECK(saturate(-kInfinity) == std::numeric_limits<std::int32_t>::min());
}

TEST_CASE("a grid takes onsets down to their cell") {
  const Resampler coarse(480, 12, false);
  CHECK(coarse(39, 39, 200).onset == 0);
  CHECK(coarse(39, 39, 200).duration == 1);
  CHECK(coarse(40, 79, 0).onset == 1);
  CHECK(coarse(40, 79, 0).duration == 1);
  CHECK(coarse(40, 80, 0).delta == 0);
  CHECK(coarse(-5, 0, 0).onset == 0);
  CHECK(coarse(kLargest, kLargest, 0).onset == kLargest / 40);
}

TEST_CASE("with deltas the rest of a cell is kept in its twelfths") {
  const Resampler fine(480, 12, true);
  CHECK(fine(60, 1, 0).onset == 1);
  CHECK(fine(60, 1, 0).delta == 6);
  const Resampler same(480, 480, true);
  CHECK(same(60, 0, -7).delta == -7);
  CHECK(same(60, 0, -7).duration == 1);
}

TEST_CASE("the corrected grid goes to the nearest cell with a signed rest, the last cell takes a whole one") {
  const Resampler fine(480, 12, true);
  CHECK(fine.nearest(61, 40, 0, 47).onset == 2);
  CHECK(fine.nearest(70, 40, 0, 47).delta == -3);
  CHECK(fine.nearest(50, 40, 0, 47).delta == 3);
  CHECK(fine.nearest(1919, 40, 0, 47).onset == 47);
  CHECK(fine.nearest(1919, 40, 0, 47).delta == 12);
  CHECK(fine.nearest(0, 40, -240, 47).onset == 0);
}

TEST_CASE("velocity levels and back") {
  const VelocityLevels levels(32);
  CHECK(levels.level(0) == 0);
  CHECK(levels.level(4) == 1);
  CHECK(levels.level(5) == 2);
  CHECK(levels.level(127) == 31);
  CHECK(levels.level(255) == 31);
  CHECK(levels.velocity(0) == 0);
  CHECK(levels.velocity(1) == 2);
  for (std::int32_t level = 1; level < 32; ++level) {
    CHECK(levels.level(static_cast<std::uint8_t>(levels.velocity(level))) == level);
  }
  // More levels than velocities: some stand for none.
  CHECK(VelocityLevels(1000).velocity(2) == 0);
}

}  // namespace
