#include "transformer/workers.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "threads/team.h"

namespace midigpt::transformer {

namespace {

constexpr auto kPatience = std::chrono::microseconds(200);

// Whether `done` came true before patience ran out.
template <class Done>
bool look_for(const Done& done) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
    }
    if (std::chrono::steady_clock::now() >= until) return false;
  }
}

}  // namespace

struct Workers::Pool {
  void stop();
  void split(std::size_t all, const Work& todo);
  void run(std::size_t index);
  void part(std::size_t index) noexcept;

  threads::Team team;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> round{0};
  std::atomic<std::size_t> pending{0};
  std::atomic<std::size_t> asleep{0};
  std::atomic<bool> stopped{false};
  std::size_t count = 0;
  const Work* work = nullptr;
  threads::Failure failure;  // of the work in progress
};

Workers::Workers(std::size_t threads) : pool_(std::make_unique<Pool>()), process_(getpid()) {
  Pool& pool = *pool_;
  if (threads > 1) pool.team.start(threads - 1, [&pool](std::size_t index) { pool.run(index); });
}

Workers::~Workers() {
  if (are_here()) {
    pool_->stop();
  } else {
    // Nobody is there to be joined, and what the threads held when the process was forked is held for good.
    static_cast<void>(pool_.release());
  }
}

std::size_t Workers::size() const { return pool_->team.size() + 1; }

bool Workers::are_here() const { return pool_->team.size() == 0 || getpid() == process_; }

void Workers::split(std::size_t count, const Work& work) { pool_->split(count, work); }

void Workers::Pool::stop() {
  {
    const std::lock_guard lock(mutex);
    stopped = true;
    ++round;
  }
  wake.notify_all();
  team.join();
}

void Workers::Pool::split(std::size_t all, const Work& todo) {
  if (team.size() == 0 || all < 2) {
    if (all > 0) todo(0, 0, all);
    return;
  }
  count = all;
  work = &todo;
  pending = team.size();
  ++round;
  if (asleep > 0) {
    const std::lock_guard lock(mutex);
    wake.notify_all();
  }
  part(0);
  while (!look_for([this] { return pending == 0; })) std::this_thread::yield();
  failure.rethrow();
}

void Workers::Pool::run(std::size_t index) {
  std::uint64_t seen = 0;
  for (;;) {
    const auto called = [this, seen] { return round != seen; };
    if (!look_for(called)) {
      std::unique_lock lock(mutex);
      ++asleep;
      wake.wait(lock, called);
      --asleep;
    }
    if (stopped) return;
    ++seen;
    part(index);
    --pending;
  }
}

// What is thrown must not leave a thread, nor the caller while others are at work.
void Workers::Pool::part(std::size_t index) noexcept {
  const std::size_t parts = team.size() + 1;
  const std::size_t first = count * index / parts;
  const std::size_t last = count * (index + 1) / parts;
  if (first >= last) return;
  failure.guard([&] { (*work)(index, first, last); }, [] {});
}

}  // namespace midigpt::transformer
