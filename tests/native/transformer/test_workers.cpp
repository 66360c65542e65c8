#include "transformer/workers.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
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
    CHECK(visits(workers, 100) == std::vector<int>(100, 1));
    CHECK(workers.size() == static_cast<std::size_t>(made) + 1);
  }
}

TEST_CASE("what is thrown comes out once all have ended, wherever it is") {
  Workers workers(4);
  for (const std::size_t bad : {0U, 30U, 99U}) {
    CAPTURE(bad);
    std::vector<std::atomic<int>> seen(100);
    std::size_t skipped = 0;
    const auto work = [&](std::size_t, std::size_t first, std::size_t last) {
      if (first <= bad && bad < last) {
        skipped = last - first;
        throw std::runtime_error("a place");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      for (std::size_t i = first; i < last; ++i) ++seen[i];
    };
    CHECK_THROWS_WITH(workers.split(100, work), "a place");
    CHECK(std::count(seen.begin(), seen.end(), 1) == static_cast<std::ptrdiff_t>(100 - skipped));
    CHECK(visits(workers, 100) == std::vector<int>(100, 1));
  }
}

TEST_CASE("what a thread does not come to is done by the others") {
  Workers workers(2);
  std::atomic<std::size_t> done{0};
  std::atomic<std::size_t> held{0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto work = [&](std::size_t part, std::size_t first, std::size_t last) {
    // The first range of the second thread is finished after all others.
    const auto size = last - first;
    if (part == 1 && held == 0) {
      held = size;
      while (done + size < 100 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    done += size;
  };
  for (int round = 0; round < 50 && held == 0; ++round) {
    done = 0;
    workers.split(100, work);
    CHECK(done == 100);
  }
  CHECK(held > 0);
  CHECK(std::chrono::steady_clock::now() < until);
}

TEST_CASE("threads start with the first call, in a forked process too") {
  Workers workers(3);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    const bool is_whole = workers.are_here() && visits(workers, 100) == std::vector<int>(100, 1);
    _exit(is_whole && workers.are_here() && workers.size() == 3 ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(visits(workers, 100) == std::vector<int>(100, 1));
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
