#include "threads/team.h"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "support/failing_threads.h"

namespace {

using midigpt::tests::FewThreads;
using midigpt::threads::Failure;
using midigpt::threads::Team;

TEST_CASE("a team has the threads that the system gives, numbered from 1") {
  for (const auto& wanted : {std::array{0, 9}, {1, 9}, {5, 9}, {5, 3}, {5, 0}}) {
    // Not bound by name in the loop: clang 14 does not let CAPTURE refer to structured bindings.
    const int most = wanted[0];
    const int made = wanted[1];
    CAPTURE(most);
    CAPTURE(made);
    const FewThreads few(made);
    std::array<std::atomic<int>, 6> calls{};
    {
      Team team;
      team.start(static_cast<std::size_t>(most), [&](std::size_t index) { ++calls.at(index); });
      CHECK(team.size() == static_cast<std::size_t>(std::min(most, made)));
    }
    for (int index = 0; index < 6; ++index) {
      CHECK(calls.at(static_cast<std::size_t>(index)) == (index >= 1 && index <= std::min(most, made) ? 1 : 0));
    }
  }
}

TEST_CASE("this thread does its part, whatever the system gives") {
  for (const int made : {0, 1, 9}) {
    CAPTURE(made);
    const FewThreads few(made);
    std::mutex mutex;
    std::set<std::thread::id> others;
    int firsts = 0;
    midigpt::threads::run(
        4, [&] { ++firsts; },
        [&] {
          const std::lock_guard lock(mutex);
          others.insert(std::this_thread::get_id());
        },
        [] {});
    CHECK(firsts == 1);
    CHECK(others.count(std::this_thread::get_id()) == 0);
    CHECK(others.empty() == (made == 0));
  }
}

TEST_CASE("what is thrown stops the others and reaches the caller once all have ended") {
  const auto run = [](bool first_throws, bool others_throw) {
    std::atomic<bool> stopped{false};
    std::atomic<int> ended{0};
    const auto work = [&](bool throws) {
      if (throws) throw std::runtime_error("a part");
      while (!stopped) std::this_thread::yield();
      ++ended;
    };
    CHECK_THROWS_WITH(midigpt::threads::run(
                          4, [&] { work(first_throws); }, [&] { work(others_throw); }, [&] { stopped = true; }),
                      "a part");
    return ended.load();
  };
  CHECK(run(true, false) == 3);
  CHECK(run(false, true) == 1);
  CHECK(run(true, true) == 0);
  const FewThreads none(0);
  CHECK(run(true, false) == 0);
}

TEST_CASE("a failure is thrown once") {
  Failure failure;
  failure.rethrow();
  int stops = 0;
  failure.guard([] {}, [&] { ++stops; });
  CHECK(stops == 0);
  failure.guard([] { throw std::runtime_error("one"); }, [&] { ++stops; });
  failure.guard([] { throw std::runtime_error("two"); }, [&] { ++stops; });
  CHECK(stops == 2);
  CHECK_THROWS_WITH(failure.rethrow(), "two");
  failure.rethrow();
}

}  // namespace
