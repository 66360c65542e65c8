// Numbers that look random and are always the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace midigpt::tests {

class Numbers {
 public:
  // In [-1, 1).
  float next() {
    state_ = state_ * 1664525U + 1013904223U;
    return static_cast<float>(state_ >> 8U) / static_cast<float>(1U << 23U) - 1.0F;
  }
  std::vector<float> take(std::size_t count) {
    std::vector<float> out(count);
    for (float& number : out) number = next();
    return out;
  }

 private:
  std::uint32_t state_ = 1;
};

}  // namespace midigpt::tests
