#include "threads/team.h"

#include <utility>

namespace midigpt::threads {

void Team::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Failure::rethrow() {
  if (kept_ != nullptr) std::rethrow_exception(std::exchange(kept_, nullptr));
}

void Failure::keep(std::exception_ptr thrown) {
  const std::lock_guard lock(mutex_);
  kept_ = std::move(thrown);
}

}  // namespace midigpt::threads
