// Values out of the bytes of a fuzzing input, front to back. The layouts stand in settings_input.h and corpus_input.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace midigpt::fuzz {

class Bytes {
 public:
  explicit Bytes(std::span<const std::uint8_t> bytes) : rest_(bytes) {}

  // The next value, little-endian; the bytes that an input lacks are 0.
  template <class T>
  T take() {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    const std::size_t size = std::min(sizeof(T), rest_.size());
    // memcpy takes no null pointer, not even for no bytes.
    if (size > 0) std::memcpy(&value, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return value;
  }

  // A number in 0 .. limit - 1 from one byte.
  std::size_t below(std::size_t limit) { return take<std::uint8_t>() % limit; }

  bool flag() { return (take<std::uint8_t>() & 1) != 0; }

  [[nodiscard]] std::span<const std::uint8_t> rest() const { return rest_; }
  [[nodiscard]] bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::uint8_t> rest_;
};

}  // namespace midigpt::fuzz
