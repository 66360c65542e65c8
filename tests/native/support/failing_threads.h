// Threads that the system does not give: std::thread, like everything else in this program, asks pthread_create, and
// this program has one of its own (failing_threads.cpp).
#pragma once

namespace midigpt::tests {

// While it lives only `count` more threads can be made.
class FewThreads {
 public:
  explicit FewThreads(int count);
  ~FewThreads();
  FewThreads(const FewThreads&) = delete;
  FewThreads& operator=(const FewThreads&) = delete;
  FewThreads(FewThreads&&) = delete;
  FewThreads& operator=(FewThreads&&) = delete;
};

}  // namespace midigpt::tests
