// Arrays handed to Python without NumPy: objects with the buffer protocol that own their memory.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "midi/growing_array.h"

namespace midigpt::bindings {

// A read-only, one-dimensional array.
class Buffer {
 public:
  // Takes over a container with data(), size() and value_type.
  template <class Container>
  static Buffer of(Container&& values) {
    using Owned = std::remove_cvref_t<Container>;
    static_assert(!std::is_lvalue_reference_v<Container>, "a buffer takes its values over");
    auto owner = std::make_shared<Owned>(std::forward<Container>(values));
    using Value = typename Owned::value_type;
    // Python refuses a null pointer even where there is nothing to read.
    static constexpr Value kNothing{};
    Buffer buffer;
    buffer.data_ = owner->size() == 0 ? &kNothing : owner->data();
    buffer.size_ = static_cast<pybind11::ssize_t>(owner->size());
    buffer.item_size_ = static_cast<pybind11::ssize_t>(sizeof(Value));
    buffer.format_ = pybind11::format_descriptor<Value>::format();
    buffer.owner_ = std::move(owner);
    return buffer;
  }

  [[nodiscard]] pybind11::buffer_info info() const {
    constexpr bool kReadOnly = true;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): what pybind11 takes; the buffer is read-only
    return {const_cast<void*>(data_), item_size_, format_, 1, {size_}, {item_size_}, kReadOnly};
  }
  [[nodiscard]] pybind11::ssize_t size() const { return size_; }

 private:
  std::shared_ptr<void> owner_;
  const void* data_ = nullptr;
  pybind11::ssize_t size_ = 0;
  pybind11::ssize_t item_size_ = 0;
  std::string format_;
};

// Uninitialised bytes for Python to write to, from block_cache.h where they are many.
class Memory {
 public:
  explicit Memory(std::size_t size) { bytes_.resize(size); }

  [[nodiscard]] pybind11::buffer_info info() {
    const auto size = static_cast<pybind11::ssize_t>(bytes_.size());
    return {bytes_.data(), 1, pybind11::format_descriptor<std::uint8_t>::format(), 1, {size}, {1}};
  }

 private:
  midi::GrowingArray<std::uint8_t> bytes_;
};

}  // namespace midigpt::bindings
