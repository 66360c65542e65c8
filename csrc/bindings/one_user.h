// Objects that work for one caller at a time. Their native code runs without the GIL, so Python does not ensure it.
#pragma once

#include <atomic>
#include <stdexcept>
#include <string>

namespace midigpt::bindings {

class OneUser {
 public:
  explicit OneUser(const char* name) : name_(name) {}

  // Lasts as long as one call. Throws std::runtime_error, Python's RuntimeError, while another call is in progress.
  class Call {
   public:
    explicit Call(const OneUser& user) : user_(user) {
      if (user.busy_.exchange(true)) {
        throw std::runtime_error(std::string(user.name_) + ": another thread is using it. Make one for each thread.");
      }
    }
    ~Call() { user_.busy_ = false; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    Call(Call&&) = delete;
    Call& operator=(Call&&) = delete;

   private:
    const OneUser& user_;
  };

 private:
  const char* name_;
  mutable std::atomic<bool> busy_{false};
};

}  // namespace midigpt::bindings
