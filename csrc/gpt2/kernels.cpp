#include "gpt2/kernels.h"

namespace midigpt::gpt2 {

namespace base {
extern const Kernels kKernels;
}
#if defined(MIDIGPT_X86_KERNELS)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#endif

const Kernels& kernels() {
#if defined(MIDIGPT_X86_KERNELS)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return avx512::kKernels;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::kKernels;
#endif
  return base::kKernels;
}

}  // namespace midigpt::gpt2
