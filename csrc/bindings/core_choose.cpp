// Choosing tokens for midigpt_core.inference: one call per token of a whole batch.
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>

#include "bindings/buffer.h"
#include "bindings/one_user.h"
#include "sample/choose.h"

namespace py = pybind11;
using midigpt::bindings::OneUser;

namespace {

struct Chooser {
  explicit Chooser(const midigpt::sample::Filters& filters) : native(filters) {}

  midigpt::sample::Chooser native;
  OneUser user{"Chooser"};
};

std::unique_ptr<Chooser> make_chooser(std::int64_t top_k, double top_p, std::int64_t mask_k, double mask_p) {
  if (top_k < 0 || mask_k < 0) throw py::value_error("top_k and mask_k must be at least 0");
  if (std::isnan(top_p) || std::isnan(mask_p)) throw py::value_error("top_p and mask_p must be numbers");
  return std::make_unique<Chooser>(midigpt::sample::Filters{top_k, top_p, mask_k, mask_p});
}

// Chooses a token for each of n rows; see the docstring below.
void choose(Chooser& chooser, const py::buffer& logits, const py::buffer& allowed, const py::buffer& temperatures,
            const py::buffer& keys, std::uint64_t counter, const py::buffer& out) {
  const OneUser::Call call(chooser.user);
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
  for (const double value : temperature) {
    if (std::isnan(value)) throw py::value_error("temperatures must be numbers");
  }
  const std::size_t size = scores.size() / rows;
  auto* chosen = static_cast<std::int32_t*>(out_info.ptr);
  std::size_t bad = rows;
  {
    const py::gil_scoped_release released;
    for (std::size_t row = 0; row < rows; ++row) {
      const std::int32_t token = chooser.native.choose(scores.data() + row * size,
                                                       reinterpret_cast<const std::uint8_t*>(flags.data()) + row * size,
                                                       size, temperature[row], key[row], counter);
      if (token == -2) bad = row;
      chosen[row] = token;
    }
  }
  if (bad != rows) throw py::value_error("row " + std::to_string(bad) + " has a logit that is not finite");
}

}  // namespace

void bind_choose(py::module_& module) {
  py::class_<Chooser>(module, "Chooser", "Draws tokens by their logits under fixed filters.")
      .def(py::init(&make_chooser), py::kw_only(), py::arg("top_k") = 0, py::arg("top_p") = 1.0, py::arg("mask_k") = 0,
           py::arg("mask_p") = 0.0)
      .def("choose", &choose, py::arg("logits"), py::arg("allowed"), py::arg("temperatures"), py::arg("keys"),
           py::arg("counter"), py::arg("out"),
           "A token for each of n rows of `logits` float32[n * V] among `allowed` bool[n * V], by number `counter` of\n"
           "its key (midigpt_core.keys.uniforms), into `out` int32[n]; -1 where nothing is allowed. Raises ValueError\n"
           "for a logit that is not finite.");
}
