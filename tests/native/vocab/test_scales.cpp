#include "vocab/scales.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

namespace {

using namespace midigpt::vocab;

TEST_CASE("duration levels are the clamped logarithm of the duration") {
  for (const std::int32_t resolution : {1, 4, 12, 480, 65536}) {
    CAPTURE(resolution);
    const DurationLevels levels(resolution);
    const std::int32_t quarter = resolution;
    for (const std::int32_t duration : {1, 2, 3, quarter / 2, quarter, 3 * quarter, 4 * quarter, 1 << 30}) {
      if (duration < 1) continue;
      const double exact = std::log2(static_cast<double>(duration) / resolution) + 3.0;
      CHECK(levels.level(duration) == static_cast<std::int32_t>(std::clamp(exact, 0.0, 5.0)));
    }
  }
}

TEST_CASE("metrical depth alternates straight and triplet grids") {
  const MetricalDepth depth(12);
  CHECK(depth.depth(0) == 0);
  CHECK(depth.depth(12) == 0);
  CHECK(depth.depth(6) == 2);
  CHECK(depth.depth(3) == 4);
  CHECK(depth.depth(8) == 1);
  CHECK(depth.depth(4) == 3);
  CHECK(depth.depth(2) == 5);
  CHECK(depth.depth(1) == 7);
  CHECK(depth.depth(-12) == 0);
  CHECK(MetricalDepth(480).depth(7) == MetricalDepth::kNone);
}

TEST_CASE("exact depth is the same where 3 divides the resolution, and knows triplets elsewhere") {
  const MetricalDepth depth(12);
  for (std::int32_t onset = 0; onset < 48; ++onset) CHECK(exact_metrical_depth(onset, 12) == depth.depth(onset));
  CHECK(exact_metrical_depth(4, 10) == 12);
  CHECK(exact_metrical_depth(20, 10) == 0);
  CHECK(exact_metrical_depth(5, 10) == 2);
}

TEST_CASE("a median depth is the mean of the middle ones") {
  MedianDepth depth;
  CHECK(depth.value() == MetricalDepth::kNone);
  for (const std::int32_t value : {8, 0, 3, 4}) depth.add(value);
  CHECK(depth.value() == 3);
}

TEST_CASE("small onsets come from a table that says what is computed") {
  const MetricalDepth depth(48);
  for (std::int32_t onset = 0; onset < 48; ++onset) CHECK(depth.depth(onset) == depth.depth(onset + 48 * 100));
}

}  // namespace
