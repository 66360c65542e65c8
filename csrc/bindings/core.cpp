#include <pybind11/pybind11.h>

void bind_sample(pybind11::module_& module);

PYBIND11_MODULE(_native, module) {
    module.doc() = "Reading MIDI files into columns, and sampling windows from them.";
    bind_sample(module);
}
