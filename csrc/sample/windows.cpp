#include "sample/windows.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace midigpt::sample {

namespace {

// Starts tried at random before all valid ones are listed. A try costs a binary search per track, so a window's cost
// does not grow with the piece; after a miss the list still gives a uniform valid start, so the number of tries does
// not show in the distribution.
constexpr int kTries = 16;

// Runs of a track that leave the piece's own are empty.
score::Run bars_of(const score::PieceView& piece, std::int64_t track) {
  const score::Run bars = piece.bars(track);
  return bars.is_inside(piece.bars()) ? bars : score::Run{};
}

score::Run cells_of(const score::PieceView& piece, std::int64_t track) {
  const score::Run cells = piece.cells(track);
  return cells.is_inside(piece.cells()) ? cells : score::Run{};
}

// Bars of the window grid: as many as the track with the fewest has.
std::int64_t common_bars(const score::PieceView& piece) {
  const std::int64_t num_tracks = piece.num_tracks();
  if (num_tracks == 0) return 0;
  std::int64_t bars = bars_of(piece, 0).size();
  if (piece.columns().track_bar_end == nullptr) return bars;
  for (std::int64_t track = 1; track < num_tracks; ++track) bars = std::min(bars, bars_of(piece, track).size());
  return bars;
}

std::int64_t num_starts(const score::PieceView& piece, std::int32_t num_bars) {
  return std::max<std::int64_t>(0, common_bars(piece) - num_bars + 1);
}

}  // namespace

std::int64_t bars_needed(std::int32_t num_bars, double min_fill_ratio) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(min_fill_ratio * num_bars)));
}

const std::vector<std::int32_t>& WindowFinder::valid_starts(const score::PieceView& piece, std::int32_t num_bars,
                                                            std::int64_t needed, std::int32_t min_tracks) {
  const std::int64_t starts = num_starts(piece, num_bars);
  const std::int32_t* cell_bar = piece.columns().cell_bar;
  change_.assign(static_cast<std::size_t>(starts) + 1, 0);
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    // A track is good at s if `needed` successive cells i .. j lie in the window: bar(j) - n < s <= bar(i). These
    // intervals ascend with i; `next` keeps a start from being counted twice.
    const score::Run cells = cells_of(piece, track);
    std::int64_t next = 0;
    for (std::int64_t i = cells.begin, j = i + needed - 1; j < cells.end; ++i, ++j) {
      const std::int64_t begin = std::max<std::int64_t>(next, std::int64_t{cell_bar[j]} - num_bars + 1);
      const std::int64_t end = std::min<std::int64_t>(starts, std::int64_t{cell_bar[i]} + 1);
      if (begin >= end) continue;
      ++change_[static_cast<std::size_t>(begin)];
      --change_[static_cast<std::size_t>(end)];
      next = end;
    }
  }
  starts_.clear();
  std::int32_t good = 0;
  for (std::int64_t start = 0; start < starts; ++start) {
    good += change_[static_cast<std::size_t>(start)];
    if (good >= min_tracks) starts_.push_back(static_cast<std::int32_t>(start));
  }
  return starts_;
}

bool WindowFinder::has_window(const score::PieceView& piece, const WindowRules& rules) {
  return std::any_of(rules.sizes.begin(), rules.sizes.end(), [&](std::int32_t num_bars) {
    return !valid_starts(piece, num_bars, bars_needed(num_bars, rules.min_fill_ratio), rules.min_tracks).empty();
  });
}

std::vector<std::int32_t>& WindowFinder::good_tracks(const score::PieceView& piece, std::int32_t start,
                                                     std::int32_t num_bars, std::int64_t needed) {
  const std::int32_t* cell_bar = piece.columns().cell_bar;
  good_.clear();
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    const score::Run cells = cells_of(piece, track);
    if (cells.size() < needed) continue;
    const std::int32_t* first = std::lower_bound(cell_bar + cells.begin, cell_bar + cells.end, start);
    // `needed` cells from `first` on lie in the window if the last of them does.
    if (cell_bar + cells.end - first >= needed && std::int64_t{first[needed - 1]} - start < num_bars) {
      good_.push_back(static_cast<std::int32_t>(track));
    }
  }
  return good_;
}

bool WindowFinder::draw_start(const score::PieceView& piece, const WindowRules& rules, std::int32_t num_bars,
                              Uniforms& uniforms, std::int32_t& start) {
  const std::int64_t starts = num_starts(piece, num_bars);
  if (starts == 0) return false;
  const std::int64_t needed = bars_needed(num_bars, rules.min_fill_ratio);
  const auto min_tracks = static_cast<std::size_t>(rules.min_tracks);
  for (int attempt = 0; attempt < kTries; ++attempt) {
    start = static_cast<std::int32_t>(uniforms.below(starts));
    if (good_tracks(piece, start, num_bars, needed).size() >= min_tracks) return true;
  }
  const std::vector<std::int32_t>& valid = valid_starts(piece, num_bars, needed, rules.min_tracks);
  if (valid.empty()) return false;
  start = valid[static_cast<std::size_t>(uniforms.below(static_cast<std::int64_t>(valid.size())))];
  // Only cells out of order can make the two ways to count disagree.
  return good_tracks(piece, start, num_bars, needed).size() >= min_tracks;
}

WindowStatus WindowFinder::draw(const score::PieceView& piece, const WindowRules& rules, std::uint64_t key,
                                Window& window, std::int32_t* tracks) {
  Uniforms uniforms(key);
  // The first size with a valid start in a uniform order of all sizes is uniform among those that have one.
  sizes_ = rules.sizes;
  std::int32_t start = 0;
  std::size_t tried = 0;
  for (; tried < sizes_.size(); ++tried) {
    const auto left = static_cast<std::int64_t>(sizes_.size() - tried);
    std::swap(sizes_[tried], sizes_[tried + static_cast<std::size_t>(uniforms.below(left))]);
    if (draw_start(piece, rules, sizes_[tried], uniforms, start)) break;
  }
  if (tried == sizes_.size()) return WindowStatus::None;

  const auto available = static_cast<std::int32_t>(good_.size());
  const std::int32_t most = std::min(rules.max_tracks, available);
  const auto count = rules.min_tracks + static_cast<std::int32_t>(uniforms.below(most - rules.min_tracks + 1));
  for (std::int32_t i = 0; i < count; ++i) {  // the first steps of a Fisher-Yates shuffle
    const auto chosen = static_cast<std::size_t>(i + uniforms.below(available - i));
    std::swap(good_[static_cast<std::size_t>(i)], good_[chosen]);
    tracks[i] = good_[static_cast<std::size_t>(i)];
  }
  window = {start, sizes_[tried], count};
  return WindowStatus::Ok;
}

}  // namespace midigpt::sample
