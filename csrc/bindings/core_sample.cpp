#include <pybind11/pybind11.h>

// Window sampling and packing for midigpt_core.data.
void bind_sample(pybind11::module_& module);

void bind_sample(pybind11::module_&) {}
