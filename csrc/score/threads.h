// Work that several threads share for the length of one call.
#pragma once

#include <cstddef>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace midigpt::score {

// Calls `first` on this thread and `other` on up to `threads - 1` more: fewer where the system gives no more threads,
// so `first` must be able to do all of the work. When one of them throws, `stop` is called, from its thread: the others
// should end soon. Rethrows the last exception when all have ended.
template <class First, class Other, class Stop>
void run_on_threads(std::size_t threads, const First& first, const Other& other, const Stop& stop) {
  std::mutex mutex;
  std::exception_ptr failure;
  const auto guarded = [&](const auto& work) {
    try {
      work();
    } catch (...) {
      stop();
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  try {
    while (helpers.size() + 1 < threads) helpers.emplace_back([&] { guarded(other); });
  } catch (const std::system_error&) {
    // The system gives no more threads: fewer do the same work.
  } catch (const std::bad_alloc&) {
    // Nor is there memory for one.
  }
  guarded(first);
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace midigpt::score
