#include "vocab/scales.h"

#include <algorithm>
#include <cmath>

namespace midigpt::vocab {

DurationLevels::DurationLevels(std::int32_t resolution) {
  // level = trunc(clamp(log2(duration / resolution) + 3, 0, 5)) grows with the duration, so its steps say it all.
  const auto reaches = [resolution](std::int32_t duration, double level) {
    return std::log2(std::max(static_cast<double>(duration) / resolution, 1e-6)) + 3.0 >= level;
  };
  for (std::size_t level = 1; level <= edges_.size(); ++level) {
    std::int32_t low = 0;
    std::int32_t high = 8 * resolution;
    while (high - low > 1) {
      const std::int32_t middle = low + (high - low) / 2;
      (reaches(middle, static_cast<double>(level)) ? high : low) = middle;
    }
    edges_[level - 1] = high;
  }
}

MetricalDepth::MetricalDepth(std::int32_t resolution) : resolution_(resolution) {
  constexpr std::int32_t tabled = 1024;
  depths_.reserve(tabled);
  for (std::int32_t onset = 0; onset < tabled; ++onset) depths_.push_back(static_cast<std::uint8_t>(compute(onset)));
}

std::int32_t MetricalDepth::compute(std::int32_t onset) const {
  for (std::int32_t i = 0; i < 6; ++i) {
    if (std::fmod(onset, static_cast<double>(resolution_) / (1 << i)) == 0) return 2 * i;
  }
  for (std::int32_t i = 0; i < 6; ++i) {
    if (std::fmod(onset, 2.0 * resolution_ / (3 * (1 << i))) == 0) return 2 * i + 1;
  }
  return kNone;
}

std::int32_t exact_metrical_depth(std::int64_t onset, std::int64_t resolution) {
  for (std::int32_t i = 0; i < 6; ++i) {
    if (onset * (1 << i) % resolution == 0) return 2 * i;
  }
  for (std::int32_t i = 0; i < 6; ++i) {
    if (onset * 3 * (1 << i) % (2 * resolution) == 0) return 2 * i + 1;
  }
  return MetricalDepth::kNone;
}

std::int32_t MedianDepth::value() const {
  if (total_ == 0) return MetricalDepth::kNone;
  const auto at = [this](std::int64_t index) {
    std::int32_t depth = 0;
    for (std::int64_t seen = counts_[0]; seen <= index; seen += counts_[static_cast<std::size_t>(depth)]) ++depth;
    return depth;
  };
  return (at((total_ - 1) / 2) + at(total_ / 2)) / 2;
}

}  // namespace midigpt::vocab
