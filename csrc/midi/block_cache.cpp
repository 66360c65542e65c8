#include "midi/block_cache.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace midigpt::midi {

namespace {

// Sizes are 4, 5, 6 and 7 quarters of a power of two.
constexpr std::size_t kQuarters = 4;
constexpr std::size_t kLeastPower = std::bit_width(kLeastBlock) - 1;
// A block of this size or one of the next larger ones will do.
constexpr std::size_t kSizesTried = 3;
constexpr std::size_t kNumSizes = kQuarters * (64 - kLeastPower);

struct Size {
  std::size_t index;
  std::size_t bytes;
};

Size size_of(std::size_t bytes) {
  bytes = std::max(bytes, kLeastBlock);
  const std::size_t power = std::bit_width(bytes) - 1;
  const std::size_t step = std::size_t{1} << power >> 2;
  const std::size_t quarters = (bytes + step - 1) / step;  // 4 to 8
  return {.index = kQuarters * (power - kLeastPower) + quarters - kQuarters, .bytes = quarters * step};
}

Size next(Size size) { return size_of(size.bytes + 1); }

// Ask for huge pages under a large block: they take fewer first touches.
void advise_huge_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
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

// Nobody waits for the lock: who does not get it goes to malloc. So a process that was forked while another thread
// held it works too.
class Cache {
 public:
  // Null: there is none.
  Block take(Size size) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return {};
    for (std::size_t i = 0; i < kSizesTried; ++i, size = next(size)) {
      std::vector<Waiting>& blocks = free_[size.index];
      if (blocks.empty()) continue;
      void* const data = blocks.back().data;
      blocks.pop_back();
      cached_ -= size.bytes;
      return {data, size.bytes};
    }
    return {};
  }

  // False: there is no room for it.
  bool give(void* block, Size size) noexcept {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock || size.bytes > kMostCached) return false;
    while (cached_ + size.bytes > kMostCached) free_oldest();
    try {
      free_[size.index].push_back({block, size.bytes, given_++});
    } catch (const std::bad_alloc&) {
      return false;
    }
    cached_ += size.bytes;
    return true;
  }

  void clear() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return;
    for (std::vector<Waiting>& blocks : free_) {
      for (const Waiting& block : blocks) std::free(block.data);
      blocks.clear();
    }
    cached_ = 0;
  }

 private:
  struct Waiting {
    void* data;
    std::size_t bytes;
    std::uint64_t since;
  };

  // Otherwise sizes that are no longer used would permanently keep out the others.
  void free_oldest() noexcept {
    std::vector<Waiting>* oldest = nullptr;
    for (std::vector<Waiting>& blocks : free_) {
      if (!blocks.empty() && (oldest == nullptr || blocks.front().since < oldest->front().since)) oldest = &blocks;
    }
    cached_ -= oldest->front().bytes;
    std::free(oldest->front().data);
    oldest->erase(oldest->begin());
  }

  std::mutex mutex_;
  std::array<std::vector<Waiting>, kNumSizes> free_;  // by size, those that wait longest first
  std::size_t cached_ = 0;                            // bytes
  std::uint64_t given_ = 0;                           // blocks so far
};

// Never destroyed: arrays that live until the process ends still give their blocks back.
Cache& cache() {
  static Cache& only = *new Cache;
  return only;
}

}  // namespace

Block take_block(std::size_t bytes) {
  if (bytes > SIZE_MAX / 4) throw std::bad_alloc();
  const Size size = size_of(bytes);
  if (const Block block = cache().take(size); block.data != nullptr) return block;
  void* block = std::malloc(size.bytes);
  if (block == nullptr) {
    cache().clear();
    block = std::malloc(size.bytes);
  }
  if (block == nullptr) throw std::bad_alloc();
  advise_huge_pages(block, size.bytes);
  return {block, size.bytes};
}

void give_block(void* data, std::size_t bytes) noexcept {
  if (!cache().give(data, size_of(bytes))) std::free(data);
}

}  // namespace midigpt::midi
