#include "support/failing_threads.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <limits>

namespace {

std::atomic<int> left{std::numeric_limits<int>::max()};

}  // namespace

namespace midigpt::tests {

FewThreads::FewThreads(int count) { left = count; }

FewThreads::~FewThreads() { left = std::numeric_limits<int>::max(); }

}  // namespace midigpt::tests

// Found before the C library's own, which it asks.
extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* attributes,
                                                                     void* (*start)(void*), void* argument) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto real = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (left != std::numeric_limits<int>::max() && left-- <= 0) return EAGAIN;
  return real(thread, attributes, start, argument);
}
