#include "score/bar_grid.h"

#include <doctest/doctest.h>

#include <cmath>

#include "midi/limits.h"

namespace {

using namespace midigpt::score;
using midigpt::midi::File;
using midigpt::midi::Outcome;
using midigpt::midi::ReadError;

// A file of signatures alone, last heard at `last_tick`.
Outcome lay(std::initializer_list<midigpt::midi::TimeSignature> signatures, std::uint32_t last_tick, BarGrid& grid,
            std::int32_t division = 480) {
  File file;
  file.ticks_per_quarter = division;
  file.last_tick = last_tick;
  for (const auto& signature : signatures) file.time_signatures.push_back(signature);
  return build(file, grid);
}

TEST_CASE("without signatures bars are 4/4 and at least one") {
  BarGrid grid;
  REQUIRE(!lay({}, 0, grid).failed());
  REQUIRE(grid.size() == 1);
  CHECK(grid.bars[0].numerator == 4);
  CHECK(grid.bars[0].denominator == 4);
  CHECK(grid.bars[0].quarters == 4.0);
  CHECK(grid.bars[0].length == 1920);
  REQUIRE(!lay({}, 1920, grid).failed());
  CHECK(grid.size() == 1);  // a piece that ends on a bar line has no empty last bar
  REQUIRE(!lay({}, 1921, grid).failed());
  CHECK(grid.size() == 2);
}

TEST_CASE("a bar cut short keeps its nominal length, and 4/4 stands before the first signature") {
  BarGrid grid;
  REQUIRE(!lay({{960, 3, 2}}, 960, grid).failed());
  REQUIRE(grid.size() == 2);
  CHECK(grid.bars[0].length == 1920);
  CHECK(grid.bars[1].first_tick == 960);
  CHECK(grid.bars[1].start == 1920);
  CHECK(grid.bars[1].numerator == 3);
}

TEST_CASE("signatures go by tick, the last of a tick wins, bars without length are skipped") {
  BarGrid grid;
  REQUIRE(!lay({{480, 5, 2}, {0, 2, 2}, {0, 1, 2}, {960, 0, 2}}, 1000, grid).failed());
  REQUIRE(grid.size() == 2);
  CHECK(grid.bars[0].numerator == 1);
  CHECK(grid.bars[1].numerator == 5);
}

TEST_CASE("bars of a resolution that does not divide round, their sum does not drift") {
  BarGrid grid;
  REQUIRE(!lay({{0, 1, 7}}, 70, grid, 220).failed());  // 1/128: 6 ticks of 6.875
  CHECK(grid.bars[0].length == 13);
  CHECK(grid.bars[0].quarters == 6.0 / 220);
  CHECK(grid.bars[10].start == std::lround(10 * 480.0 * 6 / 220));
}

TEST_CASE("bars and ticks meet their limits") {
  BarGrid grid;
  constexpr auto kMost = static_cast<std::uint32_t>(midigpt::midi::kMaxBars);
  CHECK(!lay({}, kMost * 1920, grid).failed());
  CHECK(grid.size() == kMost);
  CHECK(lay({}, kMost * 1920 + 1, grid).error == ReadError::TooManyBars);
  CHECK(lay({{0, 255, 0}}, 3'000'000, grid, 1).error == ReadError::TooManyTicks);
  CHECK(lay({{0, 0, 2}}, 100, grid).error == ReadError::EmptyBars);
  CHECK(lay({{0, 1, 7}}, 100, grid, 24).error == ReadError::EmptyBars);
}

TEST_CASE("a tick's bar is found near and far") {
  BarGrid grid;
  REQUIRE(!lay({}, 1920 * 100, grid).failed());
  CHECK(bar_at(grid, 0, 0) == 0);
  CHECK(bar_at(grid, 0, 1919) == 0);
  CHECK(bar_at(grid, 0, 1920) == 1);
  CHECK(bar_at(grid, 3, 1920 * 5) == 5);
  CHECK(bar_at(grid, 0, 1920 * 77 + 1) == 77);
  CHECK(bar_at(grid, 2, 1'000'000'000) == 99);
}

TEST_CASE("rounding takes halves away from zero and nothing else") {
  CHECK(round_away<std::int64_t>(0.5) == 1);
  CHECK(round_away<std::int64_t>(-0.5) == -1);
  CHECK(round_away<std::int64_t>(2.5) == 3);
  CHECK(round_away<std::int64_t>(0.49999999999999994) == 0);
  CHECK(round_away<std::int64_t>(-0.49999999999999994) == 0);
  for (double value = -3.75; value < 4; value += 0.25) {
    CHECK(round_away<std::int32_t>(value) == std::lround(value));
  }
}

}  // namespace
