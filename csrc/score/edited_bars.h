// The bars of a file after an edit, in ticks of the file and of the score, and where the file's ticks go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "midi/reader.h"
#include "score/bar_grid.h"

namespace midigpt::score {

class EditedBars {
 public:
  struct Signature {
    std::int64_t tick;
    std::uint8_t numerator;
    std::uint8_t log2_denominator;
  };

  // `grid` is that of `file`; time signatures are those of the edited bars, first the file's. Returns nullptr, or
  // the property of the bars that a file cannot express.
  const char* build(const midi::File& file, const BarGrid& grid, std::span<const std::int32_t> numerators,
                    std::span<const std::int32_t> denominators);

  // Signatures that the file does not have, ascending.
  [[nodiscard]] std::span<const Signature> added() const { return added_; }
  // Whether a signature at this tick of the file gives way to an added one.
  [[nodiscard]] bool replaces(std::uint32_t tick) const;
  // Whether bars became longer or shorter, so that what follows them moves.
  [[nodiscard]] bool moves() const { return moves_; }
  // Where an event at this tick of the file goes.
  [[nodiscard]] std::int64_t moved(std::int64_t tick) const;

  [[nodiscard]] std::size_t size() const { return bars_.size(); }

  static constexpr std::int64_t kBeyond = -1;
  // The tick at which a note starts, rounded; kBeyond: the bar is cut short before it. Microtiming is in
  // 1/kResolution of a tick of the score.
  [[nodiscard]] std::int64_t onset(std::int32_t bar, std::int32_t onset, std::int32_t microtiming) const;
  // The tick at which it ends.
  [[nodiscard]] std::int64_t end(std::int32_t bar, std::int32_t onset, std::int32_t duration) const;

 private:
  struct Bar {
    std::int64_t old_tick;    // in the file as it was
    std::int64_t first_tick;  // in the edited one
    std::int64_t span;        // to the next bar: less than `ticks` would be where a signature cuts the bar short, and
                              // more where one follows whose bars have no length
    std::int64_t ticks;       // of the bar, as far as the file has it
    std::int64_t start;       // at kResolution; starts and lengths are nominal, as in BarGrid
    std::int64_t length;
  };

  // Ticks to the next bar of bar `bar` of the file, now that its signature makes it `nominal` ticks long.
  std::int64_t span_in_file(const BarGrid& grid, std::size_t bar, std::int64_t nominal, bool stays);

  std::int64_t ticks_per_quarter_ = 1;
  std::vector<Bar> bars_;
  std::size_t num_file_bars_ = 0;
  std::int64_t old_end_ = 0;  // of the file's last bar
  std::vector<Signature> added_;
  std::vector<std::int64_t> replaced_;  // ascending
  bool moves_ = false;
};

}  // namespace midigpt::score
