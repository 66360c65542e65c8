// The kernels for any processor.
#define MIDIGPT_ISA base
#define MIDIGPT_NAME "base"
#define MIDIGPT_LANES 4
#include "gpt2/kernels_inl.h"
