#include "transformer/kernels.h"

namespace midigpt::transformer {

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

std::vector<const Kernels*> kernels() {
  std::vector<const Kernels*> out;
#if defined(MIDIGPT_X86_KERNELS)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) out.push_back(&avx512::kKernels);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) out.push_back(&avx2::kKernels);
#endif
  out.push_back(&base::kKernels);
  return out;
}

}  // namespace midigpt::transformer
