// Threads that work next to the caller's. They never end the process: where the system gives no more of them, fewer do
// the work, and what is thrown on one of them reaches the caller.
#pragma once

#include <cstddef>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace midigpt::threads {

class Team {
 public:
  Team() = default;
  ~Team() { join(); }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  Team(Team&&) = delete;
  Team& operator=(Team&&) = delete;

  // Calls work(1), work(2), … work(most), each on a thread of its own: fewer, or none, where the system gives no more
  // threads or has no memory for one. Each thread has a copy of `work`, which must not throw.
  template <class Work>
  void start(std::size_t most, const Work& work) {
    try {
      while (threads_.size() < most) threads_.emplace_back(work, threads_.size() + 1);
    } catch (const std::system_error&) {
      // The system gives no more threads.
    } catch (const std::bad_alloc&) {
      // Nor is there memory for one.
    }
  }

  // Without the caller's.
  [[nodiscard]] std::size_t size() const { return threads_.size(); }

  // Waits until all have ended. There are none then.
  void join();

 private:
  std::vector<std::thread> threads_;
};

// What is thrown on several threads, kept for the one that waits for them.
class Failure {
 public:
  // Calls `work`. If it throws, the exception replaces the one that was kept, and `stop` is called on this thread.
  template <class Work, class Stop>
  void guard(const Work& work, const Stop& stop) {
    try {
      work();
    } catch (...) {
      stop();
      keep(std::current_exception());
    }
  }

  // Throws what was kept, once. Call it when everything that it guards has ended.
  void rethrow();

 private:
  void keep(std::exception_ptr thrown);

  std::mutex mutex_;
  std::exception_ptr kept_;
};

// Calls `first` on this thread and `other` on up to `threads - 1` more. There may be fewer, so `first` must be able to
// do all of the work. When one of them throws, `stop` is called, from its thread: the others should end soon. Rethrows
// the last exception when all have ended.
template <class First, class Other, class Stop>
void run(std::size_t threads, const First& first, const Other& other, const Stop& stop) {
  Failure failure;
  Team team;
  team.start(threads < 2 ? 0 : threads - 1, [&](std::size_t) { failure.guard(other, stop); });
  failure.guard(first, stop);
  team.join();
  failure.rethrow();
}

}  // namespace midigpt::threads
