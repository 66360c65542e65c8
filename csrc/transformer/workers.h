// A few threads that share the work of one call. They wait for the next call by looking for a short while, then asleep:
// a token is some thirty calls of a few microseconds each, less than it takes to wake a thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>

namespace midigpt::transformer {

class Workers {
 public:
  // Up to `threads` in all, the caller's among them: fewer where the system does not give so many.
  explicit Workers(std::size_t threads);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  Workers(Workers&&) = delete;
  Workers& operator=(Workers&&) = delete;

  [[nodiscard]] std::size_t size() const;

  // False in a process that was forked from the one that made them and has none of the threads, if there are any.
  [[nodiscard]] bool are_here() const;

  using Work = std::function<void(std::size_t part, std::size_t first, std::size_t last)>;
  // work(part, first, last) over [0, count), in one part per thread. Rethrows what one of them threw, once all have
  // ended. Not for two callers at once, and only where `are_here`.
  void split(std::size_t count, const Work& work);

 private:
  struct Pool;

  std::unique_ptr<Pool> pool_;
  pid_t process_;
};

}  // namespace midigpt::transformer
