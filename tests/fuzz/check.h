// What must hold whatever the input.
#pragma once

#include <cstdio>

namespace midigpt::fuzz {

// Says what did not hold and ends the process where a fuzzer or debugger sees it.
[[noreturn]] inline void fail(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
  __builtin_trap();
}

}  // namespace midigpt::fuzz

#define FUZZ_CHECK(condition) \
  static_cast<void>((condition) || (::midigpt::fuzz::fail(#condition, __FILE__, __LINE__), false))
