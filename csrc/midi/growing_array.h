// A growing array of plain values that leaves new room uninitialised, and takes large blocks from block_cache.h.
//
// std::vector zeroes what is about to be overwritten; that shows in the profile of the reader.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "midi/block_cache.h"

namespace midigpt::midi {

template <class T>
class GrowingArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;

  GrowingArray() = default;
  GrowingArray(GrowingArray&& other) noexcept { swap(other); }
  GrowingArray& operator=(GrowingArray&& other) noexcept {
    swap(other);
    return *this;
  }
  GrowingArray(const GrowingArray&) = delete;
  GrowingArray& operator=(const GrowingArray&) = delete;
  ~GrowingArray() {
    if (is_block(capacity_)) {
      give_block(data_, capacity_ * sizeof(T));
    } else {
      std::free(data_);
    }
  }

  [[nodiscard]] T* data() { return data_; }
  [[nodiscard]] const T* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] T& operator[](std::size_t index) { return data_[index]; }
  [[nodiscard]] const T& operator[](std::size_t index) const { return data_[index]; }
  [[nodiscard]] T& back() { return data_[size_ - 1]; }
  [[nodiscard]] T* begin() { return data_; }
  [[nodiscard]] T* end() { return data_ + size_; }
  [[nodiscard]] std::span<const T> from(std::size_t first) const { return {data_ + first, size_ - first}; }

  void clear() { size_ = 0; }

  void push_back(T value) {
    if (size_ == capacity_) make_room(1);
    data_[size_++] = value;
  }

  // Room for `count` more values; returns where they go. They count once `set_size` says so.
  T* make_room(std::size_t count) {
    if (capacity_ - size_ < count) {
      const std::size_t wanted = std::max({size_ + count, capacity_ + capacity_ / 2, kFirstCapacity});
      reallocate(wanted);
    }
    return data_ + size_;
  }

  // Room for `count` values in all.
  void reserve(std::size_t count) {
    if (count > capacity_) reallocate(count);
  }

  // Values beyond the old size are what was written into the room made before.
  void set_size(std::size_t size) { size_ = size; }

  // Grow or shrink; new values are uninitialised.
  void resize(std::size_t size) {
    if (size > capacity_) reallocate(size);
    size_ = size;
  }

  // Blocks come in sizes: up to three quarters of it more than the values need may stay.
  void shrink_to_fit() {
    if (size_ > 0 && capacity_ - size_ > size_ - size_ / 4) reallocate(size_);
  }

 private:
  static constexpr std::size_t kFirstCapacity = 64;

  void reallocate(std::size_t capacity) {
    if (capacity > SIZE_MAX / sizeof(T)) throw std::bad_alloc();
    if (is_block(capacity_) || is_block(capacity)) {
      GrowingArray moved;
      moved.allocate(capacity);
      moved.size_ = std::min(size_, capacity);
      if (moved.size_ > 0) std::memcpy(moved.data_, data_, moved.size_ * sizeof(T));
      swap(moved);
    } else {
      data_ = checked(std::realloc(data_, capacity * sizeof(T)));
      capacity_ = capacity;
    }
  }

  // Blocks come from malloc as well, so one whose last fraction of a value makes it look smaller may go to free.
  static bool is_block(std::size_t capacity) { return capacity * sizeof(T) >= kLeastBlock; }

  // For an empty array.
  void allocate(std::size_t capacity) {
    if (is_block(capacity)) {
      const Block block = take_block(capacity * sizeof(T));
      data_ = static_cast<T*>(block.data);
      capacity_ = block.bytes / sizeof(T);
    } else {
      data_ = checked(std::malloc(capacity * sizeof(T)));
      capacity_ = capacity;
    }
  }

  static T* checked(void* memory) {
    if (memory == nullptr) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }

  void swap(GrowingArray& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace midigpt::midi
