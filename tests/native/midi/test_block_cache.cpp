#include "midi/block_cache.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace {

using namespace midigpt::midi;

TEST_CASE("a block holds what was asked for and at most three quarters more") {
  for (std::size_t bytes = kLeastBlock; bytes < 50 * kLeastBlock; bytes += 1021) {
    const Block block = take_block(bytes);
    CHECK(block.bytes >= bytes);
    CHECK(4 * block.bytes <= 7 * bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(block.data) % alignof(std::max_align_t) == 0);
    std::memset(block.data, 1, block.bytes);
    give_block(block.data, block.bytes - bytes % 20);
  }
}

#if !defined(MIDIGPT_ADDRESS_SANITIZER)
TEST_CASE("a block that was given back is taken again, for somewhat less too") {
  constexpr std::size_t kBytes = 37 * kLeastBlock;
  const Block first = take_block(kBytes);
  give_block(first.data, first.bytes);
  const Block second = take_block(kBytes - kBytes / 8);
  CHECK(second.data == first.data);
  CHECK(second.bytes == first.bytes);
  const Block third = take_block(kBytes);
  CHECK(third.data != first.data);
  give_block(third.data, third.bytes);
  give_block(second.data, second.bytes);
}
#endif

#if !defined(MIDIGPT_ADDRESS_SANITIZER)
TEST_CASE("memory blocks that are no longer used make room for those that are given back later") {
  constexpr std::size_t kBytes = 320 * kLeastBlock;  // a size that no other test leaves there
  std::vector<Block> stale;
  for (int i = 0; i < 70; ++i) stale.push_back(take_block(kMostCached / 64));
  for (const Block& block : stale) give_block(block.data, block.bytes);
  const Block first = take_block(kBytes);
  give_block(first.data, first.bytes);
  // Had the block been freed, malloc would have it for this.
  const std::unique_ptr<void, void (*)(void*)> other(std::malloc(first.bytes), std::free);
  const Block second = take_block(kBytes);
  CHECK(second.data == first.data);
  give_block(second.data, second.bytes);
}
#endif

TEST_CASE("more blocks than are kept can be given back") {
  std::vector<Block> blocks;
  for (int i = 0; i < 5; ++i) blocks.push_back(take_block(kMostCached / 4 + kLeastBlock));
  for (const Block& block : blocks) give_block(block.data, block.bytes);
}

TEST_CASE("more than there can be is bad_alloc, and blocks can be taken after it") {
  CHECK_THROWS_AS(static_cast<void>(take_block(SIZE_MAX)), std::bad_alloc);
  CHECK_THROWS_AS(static_cast<void>(take_block(SIZE_MAX / 8)), std::bad_alloc);
  const Block block = take_block(kLeastBlock);
  give_block(block.data, block.bytes);
}

TEST_CASE("no two threads have one block") {
  std::vector<std::thread> threads;
  std::vector<int> mixed(4, 0);
  for (std::size_t index = 0; index < mixed.size(); ++index) {
    threads.emplace_back([&mixed, index] {
      for (int round = 0; round < 2000; ++round) {
        const Block block = take_block(kLeastBlock);
        std::memset(block.data, static_cast<int>(index), kLeastBlock);
        const auto* const bytes = static_cast<const unsigned char*>(block.data);
        for (std::size_t i = 0; i < kLeastBlock; i += 509) mixed[index] += bytes[i] != index ? 1 : 0;
        give_block(block.data, block.bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : mixed) CHECK(count == 0);
}

}  // namespace
