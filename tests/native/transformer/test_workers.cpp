#include "transformer/workers.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/failing_threads.h"

namespace {

using midigpt::tests::FewThreads;
using midigpt::transformer::Workers;

// How often each of `count` places was worked on.
std::vector<int> visits(Workers& workers, std::size_t count) {
  std::vector<std::atomic<int>> seen(count);
  workers.split(count, [&](std::size_t part, std::size_t first, std::size_t last) {
    if (part >= workers.size()) return;
    for (std::size_t i = first; i < last; ++i) ++seen[i];
  });
  return {seen.begin(), seen.end()};
}

TEST_CASE("work is split without gap or overlap, whatever the number of threads") {
  for (const std::size_t threads : {1U, 2U, 3U, 5U}) {
    Workers workers(threads);
    CHECK(workers.size() == threads);
    for (const std::size_t count : {0U, 1U, 2U, 7U, 1000U}) {
      CHECK(visits(workers, count) == std::vector<int>(count, 1));
    }
  }
}

TEST_CASE("workers that fell asleep wake up") {
  Workers workers(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(visits(workers, 100) == std::vector<int>(100, 1));
  }
}

TEST_CASE("the threads that there are do the work of those that cannot be made") {
  for (const int made : {0, 1, 2, 6}) {
    CAPTURE(made);
    const FewThreads few(made);
    Workers workers(8);
    CHECK(workers.size() == static_cast<std::size_t>(made) + 1);
    CHECK(visits(workers, 100) == std::vector<int>(100, 1));
  }
}

TEST_CASE("what a part throws comes out once all have ended, whichever part it is") {
  Workers workers(4);
  for (const std::size_t bad : {0U, 1U, 3U}) {
    CAPTURE(bad);
    std::atomic<int> ended{0};
    const auto work = [&](std::size_t part, std::size_t, std::size_t) {
      if (part == bad) throw std::runtime_error("a part");
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ++ended;
    };
    CHECK_THROWS_WITH(workers.split(100, work), "a part");
    CHECK(ended == 3);
    CHECK(visits(workers, 100) == std::vector<int>(100, 1));
  }
}

TEST_CASE("a forked process has none of the threads, and waits for none") {
  for (const bool asleep : {false, true}) {
    auto* const workers = new Workers(3);
    Workers alone(1);
    CHECK(visits(*workers, 100) == std::vector<int>(100, 1));
    if (asleep) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      const bool is_told = !workers->are_here() && alone.are_here();
      delete workers;
      _exit(is_told ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(workers->are_here());
    delete workers;
  }
}

}  // namespace
