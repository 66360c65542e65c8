// The kernels for any processor.
#define MIDIGPT_ISA base
#define MIDIGPT_NAME "base"
#define MIDIGPT_LANES 4
#include "transformer/kernels_inl.h"
