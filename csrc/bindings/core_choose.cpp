// Choosing tokens for midigpt_core.inference: one call per token of a whole batch.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bindings/buffer.h"
#include "sample/choose.h"

namespace py = pybind11;
using midigpt::sample::Chooser;

namespace {

// Chooses a token for each of n rows; see choose_tokens below.
void choose(Chooser& chooser, const py::buffer& logits, const py::buffer& allowed, const py::buffer& temperatures,
            const py::buffer& keys, std::uint64_t counter, const py::buffer& out) {
    constexpr bool kWritable = true;
    const py::buffer_info out_info = out.request(kWritable);
    const py::buffer_info logit_info = logits.request();
    const py::buffer_info allowed_info = allowed.request();
    const py::buffer_info temperature_info = temperatures.request();
    const py::buffer_info key_info = keys.request();
    const auto tokens = midigpt::bindings::view<std::int32_t>(out_info, "out");
    const auto scores = midigpt::bindings::view<float>(logit_info, "logits");
    const auto flags = midigpt::bindings::view<bool>(allowed_info, "allowed");
    const auto temperature = midigpt::bindings::view<double>(temperature_info, "temperatures");
    const auto key = midigpt::bindings::view<std::uint64_t>(key_info, "keys");
    const std::size_t rows = tokens.size();
    if (rows == 0) return;
    if (scores.size() % rows != 0 || flags.size() != scores.size() || temperature.size() != rows || key.size() != rows) {
        throw py::value_error("logits and allowed must be n rows of one length, temperatures, keys and out of length n");
    }
    const std::size_t size = scores.size() / rows;
    auto* chosen = static_cast<std::int32_t*>(out_info.ptr);
    std::size_t bad = rows;
    {
        const py::gil_scoped_release released;
        for (std::size_t row = 0; row < rows; ++row) {
            chosen[row] = chooser.choose(scores.data() + row * size,
                                         reinterpret_cast<const std::uint8_t*>(flags.data()) + row * size, size,
                                         temperature[row], key[row], counter);
            if (chosen[row] == -2) bad = row;
        }
    }
    if (bad != rows) throw py::value_error("row " + std::to_string(bad) + " has a logit that is not finite");
}

}  // namespace

void bind_choose(py::module_& module) {
    py::class_<Chooser>(module, "Chooser", "Draws tokens by their logits under fixed filters.")
        .def(py::init([](std::int64_t top_k, double top_p, std::int64_t mask_k, double mask_p) {
                 return Chooser({top_k, top_p, mask_k, mask_p});
             }),
             py::kw_only(), py::arg("top_k") = 0, py::arg("top_p") = 1.0, py::arg("mask_k") = 0, py::arg("mask_p") = 0.0)
        .def("choose", &choose, py::arg("logits"), py::arg("allowed"), py::arg("temperatures"), py::arg("keys"),
             py::arg("counter"), py::arg("out"),
             "A token for each of n rows of `logits` float32[n * V] among `allowed` bool[n * V], by number `counter` of\n"
             "its key (midigpt_core.keys.uniforms), into `out` int32[n]; -1 where nothing is allowed. Raises ValueError\n"
             "for a logit that is not finite.");
}
