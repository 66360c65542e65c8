// Philox4x32-10 and the uniform numbers of a key: bit for bit what midigpt_core/keys.py computes.
//
// Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <cmath>
#include <cstdint>

namespace midigpt::sample {

// Four 32-bit words as two 64-bit ones, the first word in the low half.
struct PhiloxWords {
  std::uint64_t first;
  std::uint64_t second;
};

[[nodiscard]] inline PhiloxWords philox(PhiloxWords counter, std::uint64_t key) {
  constexpr std::uint64_t kLow = 0xFFFFFFFFU;
  std::uint64_t c0 = counter.first & kLow;
  std::uint64_t c1 = counter.first >> 32;
  std::uint64_t c2 = counter.second & kLow;
  std::uint64_t c3 = counter.second >> 32;
  std::uint64_t k0 = key & kLow;
  std::uint64_t k1 = key >> 32;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = c0 * 0xD2511F53U;
    const std::uint64_t p1 = c2 * 0xCD9E8D57U;
    c0 = (p1 >> 32) ^ c1 ^ k0;
    c1 = p1 & kLow;
    c2 = (p0 >> 32) ^ c3 ^ k1;
    c3 = p0 & kLow;
    k0 = (k0 + 0x9E3779B9U) & kLow;
    k1 = (k1 + 0xBB67AE85U) & kLow;
  }
  return {c0 | c1 << 32, c2 | c3 << 32};
}

// The numbers of one key in the order of keys.uniforms.
class Uniforms {
 public:
  explicit Uniforms(std::uint64_t key) : key_(key) {}

  // Uniform in [0, 1) with 53 bits.
  [[nodiscard]] double next() {
    if (has_spare_) {
      has_spare_ = false;
      return to_unit(spare_);
    }
    const PhiloxWords words = philox({pair_++, 0}, key_);
    spare_ = words.second;
    has_spare_ = true;
    return to_unit(words.first);
  }

  // Uniform in 0 .. limit - 1 for a limit of at least 1, as keys.below.
  [[nodiscard]] std::int64_t below(std::int64_t limit) {
    const auto scaled = static_cast<std::int64_t>(std::floor(next() * static_cast<double>(limit)));
    return scaled < limit ? scaled : limit - 1;
  }

 private:
  [[nodiscard]] static double to_unit(std::uint64_t word) { return static_cast<double>(word >> 11) * 0x1p-53; }

  std::uint64_t key_;
  std::uint64_t pair_ = 0;
  std::uint64_t spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace midigpt::sample
