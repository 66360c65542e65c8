// One target as a libFuzzer program; the build names the target.
#include <cstddef>
#include <cstdint>

#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  midigpt::fuzz::MIDIGPT_FUZZ_TARGET({data, size});
  return 0;
}
