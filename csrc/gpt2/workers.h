// A few threads that share the work of one call. They wait for the next call by looking for a short while, then asleep:
// a token is some thirty calls of a few microseconds each, less than it takes to wake a thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace midigpt::gpt2 {

class Workers {
 public:
  // `threads` in all, the caller's among them.
  explicit Workers(std::size_t threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  Workers(Workers&&) = delete;
  Workers& operator=(Workers&&) = delete;

  [[nodiscard]] std::size_t size() const { return threads_.size() + 1; }

  using Work = std::function<void(std::size_t part, std::size_t first, std::size_t last)>;
  // work(part, first, last) over [0, count), in one part per thread. Not for two callers at once.
  void split(std::size_t count, const Work& work);

 private:
  void run(std::size_t index);
  void part(std::size_t index) const;

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> round_{0};
  std::atomic<std::size_t> pending_{0};
  std::atomic<std::size_t> asleep_{0};
  std::atomic<bool> stop_{false};
  std::size_t count_ = 0;
  const Work* work_ = nullptr;
};

}  // namespace midigpt::gpt2
