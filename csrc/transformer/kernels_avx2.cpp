// The kernels for AVX2 and FMA.
#define MIDIGPT_ISA avx2
#define MIDIGPT_NAME "avx2"
#define MIDIGPT_LANES 8
#include "transformer/kernels_inl.h"
