// Memory blocks for large arrays, kept and reused.
//
// The system clears each page of new memory at its first use and takes it back when it is freed. For columns that
// live as long as one batch this took a third of the time of reading it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define MIDIGPT_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MIDIGPT_ADDRESS_SANITIZER
#endif
#endif

namespace midigpt::midi {

// Smaller ones are left to malloc, which keeps them.
inline constexpr std::size_t kLeastBlock = std::size_t{16} << 10;
// Most bytes that are kept; beyond this the memory blocks that were unused longest are freed. With AddressSanitizer
// nothing is kept, because it could not detect a use after a memory block was given back.
#if defined(MIDIGPT_ADDRESS_SANITIZER)
inline constexpr std::size_t kMostCached = 0;
#else
inline constexpr std::size_t kMostCached = std::size_t{64} << 20;
#endif

struct Block {
  void* data;
  std::size_t bytes;
};

// Memory for at least `bytes` bytes, kLeastBlock or more of them, with unspecified content; up to three quarters more
// than that. Throws std::bad_alloc. Any thread may take and give.
Block take_block(std::size_t bytes);

// Give back a memory block. `bytes` may be less than was taken, by the last fraction of an array's value.
void give_block(void* data, std::size_t bytes) noexcept;

}  // namespace midigpt::midi
