// The kernels for AVX-512.
#define MIDIGPT_ISA avx512
#define MIDIGPT_NAME "avx512"
#define MIDIGPT_LANES 16
#include "transformer/kernels_inl.h"
