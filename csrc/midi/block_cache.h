// Memory of large arrays, kept to be filled again.
//
// A system clears each page of fresh memory at its first touch, and takes it back when it is freed: for columns that
// live as long as one batch that was a third of the time to read it.
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
// Bytes that wait to be used again; beyond them those that have waited longest are freed. With AddressSanitizer all
// are: it would not see their use after they were given back.
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

// Give back a block. `bytes` may be less than those that were taken by an array's last fraction of a value.
void give_block(void* data, std::size_t bytes) noexcept;

}  // namespace midigpt::midi
