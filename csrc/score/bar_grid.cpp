#include "score/bar_grid.h"

#include <algorithm>

#include "midi/limits.h"

namespace midigpt::score {

using midi::ReadError;
using midi::TimeSignature;

namespace {

constexpr TimeSignature kCommonTime{0, 4, 2};

// Signatures by tick: the last one of several at a tick, and 4/4 if there is none at the start.
void sort_signatures(const midi::File& file, midi::GrowingArray<TimeSignature>& sorted) {
  const auto earlier = [](const TimeSignature& a, const TimeSignature& b) { return a.tick < b.tick; };
  const auto count = file.time_signatures.size();
  sorted.resize(count);
  std::copy_n(file.time_signatures.data(), count, sorted.data());
  if (!std::is_sorted(sorted.begin(), sorted.end(), earlier)) std::stable_sort(sorted.begin(), sorted.end(), earlier);

  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i + 1 < count && sorted[i + 1].tick == sorted[i].tick) continue;
    sorted[kept++] = sorted[i];
  }
  sorted.set_size(kept);
  if (kept == 0 || sorted[0].tick != 0) {
    sorted.push_back(kCommonTime);
    std::rotate(sorted.begin(), sorted.end() - 1, sorted.end());
  }
}

// Bars from one signature to the next, or to the end of the piece.
class Segment {
 public:
  Segment(const midi::File& file, const midi::GrowingArray<TimeSignature>& signatures, std::size_t index)
      : signature_(signatures[index]),
        ticks_per_quarter_(file.ticks_per_quarter),
        ticks_(std::int64_t{4} * ticks_per_quarter_ * signature_.numerator >> signature_.log2_denominator) {
    if (ticks_ == 0) return;
    const bool last = index + 1 == signatures.size();
    const std::int64_t span = static_cast<std::int64_t>(last ? file.last_tick : signatures[index + 1].tick) -
                              static_cast<std::int64_t>(signature_.tick);
    // The last segment ends with the piece, but a signature at its very end still opens a bar.
    num_bars_ = std::max<std::int64_t>((span + ticks_ - 1) / ticks_, last ? 1 : 0);
  }

  [[nodiscard]] std::int64_t num_bars() const { return num_bars_; }

  // Write the bars to `out`; `start` is the exact start of the first at kResolution and becomes that of the next.
  void write(Bar* out, double& start) const {
    const double length = static_cast<double>(kResolution * ticks_) / ticks_per_quarter_;
    for (std::int64_t i = 0; i < num_bars_; ++i) {
      out[i] = {.first_tick = signature_.tick + i * ticks_,
                .start = round_away<std::int32_t>(start),
                .length = round_away<std::int32_t>(length),
                .quarters = static_cast<double>(ticks_) / ticks_per_quarter_,
                .numerator = signature_.numerator,
                .denominator = 1 << signature_.log2_denominator};
      start += length;
    }
  }

  // How far the segment moves `start`.
  [[nodiscard]] double extent() const {
    return static_cast<double>(num_bars_) * static_cast<double>(kResolution * ticks_) / ticks_per_quarter_;
  }

 private:
  TimeSignature signature_;
  std::int32_t ticks_per_quarter_;
  std::int64_t ticks_;  // per bar
  std::int64_t num_bars_ = 0;
};

}  // namespace

midi::Outcome build(const midi::File& file, BarGrid& grid) {
  sort_signatures(file, grid.signatures);
  grid.bars.clear();
  double start = 0;
  // No note ends later than the last bar's start plus all ticks of the file.
  double latest = static_cast<double>(file.last_tick) * kResolution / file.ticks_per_quarter;
  for (std::size_t i = 0; i < grid.signatures.size(); ++i) {
    const Segment segment(file, grid.signatures, i);
    const std::size_t count = grid.bars.size() + static_cast<std::size_t>(segment.num_bars());
    if (count > static_cast<std::size_t>(midi::kMaxBars)) return {ReadError::TooManyBars, midi::kNoOffset};
    latest += segment.extent();
    if (latest > static_cast<double>(midi::kMaxTick)) return {ReadError::TooManyTicks, midi::kNoOffset};
    Bar* const bars = grid.bars.make_room(static_cast<std::size_t>(segment.num_bars()));
    segment.write(bars, start);
    grid.bars.set_size(count);
  }
  if (grid.bars.empty()) return {ReadError::EmptyBars, midi::kNoOffset};
  Bar end;
  end.first_tick = INT64_MAX;
  grid.bars.push_back(end);
  return {};
}

std::size_t later_bar_at(const BarGrid& grid, std::size_t from, std::int64_t tick) {
  constexpr std::size_t kNearby = 4;
  const Bar* const bars = grid.bars.data();
  std::size_t bar = from;
  for (std::size_t step = 0; step < kNearby; ++step, ++bar) {
    if (bars[bar + 1].first_tick > tick) return bar;
  }
  const auto later = [](std::int64_t wanted, const Bar& candidate) { return wanted < candidate.first_tick; };
  return static_cast<std::size_t>(std::upper_bound(bars + bar + 1, bars + grid.bars.size(), tick, later) - bars) - 1;
}

}  // namespace midigpt::score
