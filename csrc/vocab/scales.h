// Musical scales that attributes are measured on (docs/encoder-specification.md, E.2), as tables over one resolution.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace midigpt::vocab {

// Durations as levels 0 (a 32nd or less) .. 3 (a quarter) .. 5 (a whole note or more).
class DurationLevels {
 public:
  explicit DurationLevels(std::int32_t resolution);
  [[nodiscard]] std::int32_t level(std::int32_t duration) const {
    std::int32_t level = 0;
    for (const std::int32_t edge : edges_) level += duration >= edge;
    return level;
  }

 private:
  std::array<std::int32_t, 5> edges_{};  // first duration of levels 1..5
};

// How deep an onset lies in the metre, 0 (on the quarter) .. 11, alternating straight and triplet grids; 12: on none.
class MetricalDepth {
 public:
  static constexpr std::int32_t kNone = 12;

  explicit MetricalDepth(std::int32_t resolution);
  [[nodiscard]] std::int32_t depth(std::int32_t onset) const {
    const auto index = static_cast<std::size_t>(onset);
    return onset >= 0 && index < depths_.size() ? depths_[index] : compute(onset);
  }

 private:
  [[nodiscard]] std::int32_t compute(std::int32_t onset) const;

  std::int32_t resolution_;
  std::vector<std::uint8_t> depths_;  // of small onsets
};

// The same for any resolution, in whole numbers: triplets of a resolution that 3 does not divide count as triplets too.
std::int32_t exact_metrical_depth(std::int64_t onset, std::int64_t resolution);

// The median depth of notes added one by one.
class MedianDepth {
 public:
  void add(std::int32_t depth) {
    ++counts_[static_cast<std::size_t>(depth)];
    ++total_;
  }
  // The mean of the two middle depths, rounded down; MetricalDepth::kNone without notes.
  [[nodiscard]] std::int32_t value() const;

 private:
  std::array<std::int64_t, MetricalDepth::kNone + 1> counts_{};
  std::int64_t total_ = 0;
};

}  // namespace midigpt::vocab
