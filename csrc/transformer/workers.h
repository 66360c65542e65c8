// A few threads that share the work of one call. They wait for the next call by looking for a short while, then asleep:
// a token is some thirty calls of a few microseconds each, less than it takes to wake a thread. No call waits for a
// thread that has not begun: on a busy machine the caller does what the others do not come to.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace midigpt::transformer {

class Workers {
 public:
  // Up to `threads` in all, the caller's among them: fewer where the system does not give so many. The others start
  // with the first call of `split`.
  explicit Workers(std::size_t threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  Workers(Workers&&) = delete;
  Workers& operator=(Workers&&) = delete;

  // How many there are; before the first call, how many there may be.
  [[nodiscard]] std::size_t size() const;

  // False in a process that was forked from the one that made them and has none of the threads, if there are any.
  [[nodiscard]] bool are_here() const;

  using Work = std::function<void(std::size_t part, std::size_t first, std::size_t last)>;
  // work(part, first, last) over [0, count), in a few ranges per thread; `part` is the number of the thread, below
  // `size()`. Which thread works on a range varies, so the result must not depend on it. Rethrows what one of them
  // threw, once all have ended. Not for two callers at once, and only where `are_here`.
  void split(std::size_t count, const Work& work);

 private:
  struct Pool;

  std::unique_ptr<Pool> pool_;
  long process_;
};

}  // namespace midigpt::transformer
