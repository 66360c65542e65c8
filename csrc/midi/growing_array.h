// A growing array of plain values that leaves new room uninitialised and grows by realloc.
//
// std::vector zeroes what is about to be overwritten and copies large blocks that the allocator could remap; both show
// in the profile of the reader.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace midigpt::midi {

// Ask for huge pages under a large block: first touches of 4 KiB pages are a good part of the time to fill one.
inline void advise_huge_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
    constexpr std::uintptr_t kHugePage = 2 << 20;
    const auto address = reinterpret_cast<std::uintptr_t>(block);
    const auto begin = (address + kHugePage - 1) / kHugePage * kHugePage;
    const auto end = (address + bytes) / kHugePage * kHugePage;
    // Without huge pages everything works as well: the answer does not matter.
    if (begin < end) {
        static_cast<void>(madvise(static_cast<char*>(block) + (begin - address), end - begin, MADV_HUGEPAGE));
    }
#endif
}

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
    ~GrowingArray() { std::free(data_); }

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

    void shrink_to_fit() {
        if (size_ > 0 && size_ < capacity_) reallocate(size_);
    }

   private:
    static constexpr std::size_t kFirstCapacity = 64;

    void reallocate(std::size_t capacity) {
        if (capacity > SIZE_MAX / sizeof(T)) throw std::bad_alloc();
        void* grown = std::realloc(data_, capacity * sizeof(T));
        if (grown == nullptr) throw std::bad_alloc();
        advise_huge_pages(grown, capacity * sizeof(T));
        data_ = static_cast<T*>(grown);
        capacity_ = capacity;
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
