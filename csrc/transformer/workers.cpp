#include "transformer/workers.h"

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "threads/team.h"

namespace midigpt::transformer {

namespace {

constexpr auto kPatience = std::chrono::microseconds(200);
// In a thread's part. A thread whose processor is taken away holds up the call for one share, not for its part.
constexpr std::size_t kShares = 4;
constexpr unsigned kHalf = 32;
constexpr std::uint64_t kLower = (std::uint64_t{1} << kHalf) - 1;

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

// Windows forks no process: it is always the one that made the threads.
long this_process() {
#if defined(_WIN32)
  return 0;
#else
  return getpid();
#endif
}

}  // namespace

// What is left of one thread's part: the number of the call in the upper half, of shares in the lower. Every change
// takes the whole, so a thread that was late cannot take a share of a call that it has not seen begin.
struct alignas(64) Left {
  std::atomic<std::uint64_t> value{0};
};

struct Workers::Pool {
  explicit Pool(std::size_t threads) : left(threads) {}

  void start();
  void stop();
  void split(std::size_t all, const Work& todo);
  void run(std::size_t index);
  void share(std::size_t index) noexcept;
  bool take(std::size_t part, std::size_t index) noexcept;

  bool is_started = false;
  threads::Team team;
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<Left> left;  // one for each thread that was asked for
  std::atomic<std::uint32_t> round{0};
  std::atomic<std::size_t> unfinished{0};  // shares of the call in progress
  std::atomic<std::size_t> asleep{0};
  std::atomic<bool> stopped{false};
  // Of the call in progress: they change only while no share is left.
  std::size_t parts = 1;
  std::size_t shares = 0;  // in a part
  std::size_t count = 0;
  const Work* work = nullptr;
  threads::Failure failure;
};

Workers::Workers(std::size_t threads)
    : pool_(std::make_unique<Pool>(std::max(threads, std::size_t{1}))), process_(this_process()) {}

Workers::~Workers() {
  if (are_here()) {
    pool_->stop();
  } else {
    // Nobody is there to be joined, and what the threads held when the process was forked is held for good.
    static_cast<void>(pool_.release());
  }
}

std::size_t Workers::size() const { return pool_->is_started ? pool_->team.size() + 1 : pool_->left.size(); }

bool Workers::are_here() const { return pool_->team.size() == 0 || this_process() == process_; }

void Workers::split(std::size_t count, const Work& work) {
  if (!pool_->is_started) {
    process_ = this_process();
    pool_->start();
  }
  pool_->split(count, work);
}

void Workers::Pool::start() {
  is_started = true;
  if (left.size() > 1) team.start(left.size() - 1, [this](std::size_t index) { run(index); });
}

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
  parts = team.size() + 1;
  if (parts == 1 || all < 2) {
    if (all > 0) todo(0, 0, all);
    return;
  }
  count = all;
  work = &todo;
  shares = std::clamp(all / parts, std::size_t{1}, kShares);
  unfinished = parts * shares;
  const std::uint32_t next = round + 1;
  for (std::size_t part = 0; part < parts; ++part) {
    left[part].value = (std::uint64_t{next} << kHalf) | shares;
  }
  round = next;
  if (asleep > 0) {
    const std::lock_guard lock(mutex);
    wake.notify_all();
  }
  share(0);
  while (!look_for([this] { return unfinished == 0; })) std::this_thread::yield();
  failure.rethrow();
}

void Workers::Pool::run(std::size_t index) {
  std::uint32_t seen = 0;
  for (;;) {
    const auto called = [this, seen] { return round != seen; };
    if (!look_for(called)) {
      std::unique_lock lock(mutex);
      ++asleep;
      wake.wait(lock, called);
      --asleep;
    }
    // In this order: `stopped` is set before its round, so that a thread that sees the round sees it.
    seen = round;
    if (stopped) return;
    share(index);
  }
}

// Works on its own part first, which has the same weights in every call and finds them in its cache, and then on what
// is left of the others'.
void Workers::Pool::share(std::size_t index) noexcept {
  for (std::size_t n = 0; n < left.size(); ++n) {
    while (take((index + n) % left.size(), index)) {
    }
  }
}

// Takes one share of a part, if there is one, and does it. What is thrown must not leave a thread, nor the caller while
// others are at work.
bool Workers::Pool::take(std::size_t part, std::size_t index) noexcept {
  std::uint64_t seen = left[part].value;
  do {
    if ((seen & kLower) == 0) return false;
  } while (!left[part].value.compare_exchange_weak(seen, seen - 1));
  const std::size_t number = part * shares + shares - static_cast<std::size_t>(seen & kLower);
  const std::size_t all = parts * shares;
  const std::size_t first = count * number / all;
  const std::size_t last = count * (number + 1) / all;
  if (first < last) failure.guard([&] { (*work)(index, first, last); }, [] {});
  --unfinished;
  return true;
}

}  // namespace midigpt::transformer
