// Drawing a window: which bars of which tracks of a piece.
//
// A track is good in the window of n bars from bar s if at least max(1, ceil(min_fill_ratio * n)) of them hold notes.
// A start is valid if at least min_tracks tracks are good there. The distribution (docs/sampling.md): the size is
// uniform among the sizes that have a valid start, the start uniform among the valid ones, the number of tracks uniform
// in min_tracks .. min(max_tracks, good tracks), the tracks a uniform choice in uniform order.
#pragma once

#include <cstdint>
#include <vector>

#include "sample/philox.h"
#include "score/columns.h"

namespace midigpt::sample {

struct WindowRules {
  std::vector<std::int32_t> sizes;  // in bars, at least 1 each, all different
  std::int32_t min_tracks = 1;
  std::int32_t max_tracks = 1;  // at least min_tracks
  double min_fill_ratio = 0.75;
};

enum class WindowStatus : std::uint8_t {
  Ok = 0,
  None = 1,     // the piece has no valid start for any size
  Damaged = 2,  // the piece's columns contradict one another
};

struct Window {
  std::int32_t start_bar = 0;
  std::int32_t num_bars = 0;
  std::int32_t num_tracks = 0;
};

// Non-empty bars that a window of `num_bars` needs in a track.
[[nodiscard]] std::int64_t bars_needed(std::int32_t num_bars, double min_fill_ratio);

// Finds windows in sound pieces (score/columns.h). Keeps its scratch memory between calls, so one finder serves one
// thread.
class WindowFinder {
 public:
  // Starts with at least `min_tracks` good tracks, ascending. Valid until the next call.
  [[nodiscard]] const std::vector<std::int32_t>& valid_starts(const score::PieceView& piece, std::int32_t num_bars,
                                                              std::int64_t needed, std::int32_t min_tracks);

  // Whether the piece has a valid start for any of the sizes.
  [[nodiscard]] bool has_window(const score::PieceView& piece, const WindowRules& rules);

  // Tracks that are good at `start`, ascending. Valid until the next call.
  [[nodiscard]] std::vector<std::int32_t>& good_tracks(const score::PieceView& piece, std::int32_t start,
                                                       std::int32_t num_bars, std::int64_t needed);

  // Draws a window from the numbers of `key`; writes its tracks to tracks[0 .. num_tracks).
  [[nodiscard]] WindowStatus draw(const score::PieceView& piece, const WindowRules& rules, std::uint64_t key,
                                  Window& window, std::int32_t* tracks);

 private:
  [[nodiscard]] bool draw_start(const score::PieceView& piece, const WindowRules& rules, std::int32_t num_bars,
                                Uniforms& uniforms, std::int32_t& start);

  std::vector<std::int32_t> sizes_;
  std::vector<std::int32_t> starts_;
  std::vector<std::int32_t> good_;
  std::vector<std::int32_t> change_;
};

}  // namespace midigpt::sample
