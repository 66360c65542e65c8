// The grammar of a batch of sequences, as a Python class.
#pragma once

#include <pybind11/pybind11.h>

namespace midigpt::bindings {

void bind_grammar(pybind11::module_& m);

}  // namespace midigpt::bindings
