#include "gpt2/workers.h"

#include <algorithm>
#include <chrono>

namespace midigpt::gpt2 {

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

Workers::Workers(std::size_t threads) {
  for (std::size_t index = 1; index < threads; ++index) threads_.emplace_back([this, index] { run(index); });
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    ++round_;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::split(std::size_t count, const Work& work) {
  if (threads_.empty() || count < 2) {
    if (count > 0) work(0, 0, count);
    return;
  }
  count_ = count;
  work_ = &work;
  pending_ = threads_.size();
  ++round_;
  if (asleep_ > 0) {
    const std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  part(0);
  while (!look_for([this] { return pending_ == 0; })) std::this_thread::yield();
}

void Workers::run(std::size_t index) {
  std::uint64_t seen = 0;
  for (;;) {
    const auto called = [this, seen] { return round_ != seen; };
    if (!look_for(called)) {
      std::unique_lock lock(mutex_);
      ++asleep_;
      wake_.wait(lock, called);
      --asleep_;
    }
    if (stop_) return;
    ++seen;
    part(index);
    --pending_;
  }
}

void Workers::part(std::size_t index) const {
  const std::size_t parts = threads_.size() + 1;
  const std::size_t first = count_ * index / parts;
  const std::size_t last = count_ * (index + 1) / parts;
  if (first < last) (*work_)(index, first, last);
}

}  // namespace midigpt::gpt2
