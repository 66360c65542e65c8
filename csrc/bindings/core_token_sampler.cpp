// Choosing tokens for midigpt_core.inference: one call per token of a whole batch.
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/one_user.h"
#include "sample/token_sampler.h"

namespace py = pybind11;
using midigpt::bindings::Array;
using midigpt::bindings::OneUser;

namespace {

struct TokenSampler {
  explicit TokenSampler(const midigpt::sample::Filters& filters) : native(filters) {}

  midigpt::sample::TokenSampler native;
  OneUser user{"TokenSampler"};
};

std::unique_ptr<TokenSampler> make_sampler(std::int64_t top_k, double top_p, std::int64_t mask_k, double mask_p) {
  if (top_k < 0 || mask_k < 0) throw py::value_error("top_k and mask_k must be at least 0");
  if (std::isnan(top_p) || std::isnan(mask_p)) throw py::value_error("top_p and mask_p must be numbers");
  return std::make_unique<TokenSampler>(midigpt::sample::Filters{top_k, top_p, mask_k, mask_p});
}

template <class T>
std::optional<Array<T>> array_or_none(const py::object& value, const char* name) {
  if (value.is_none()) return std::nullopt;
  return std::optional<Array<T>>(std::in_place, value, name);
}

// Chooses a token for each of n rows; see the docstring below.
void choose(TokenSampler& sampler, const py::buffer& logits, const py::buffer& allowed, const py::buffer& temperatures,
            const py::buffer& keys, std::uint64_t counter, const py::buffer& out, const py::object& weights,
            const py::object& types) {
  const OneUser::Call call(sampler.user);
  constexpr bool kWritable = true;
  Array<std::int32_t> tokens(out, "out", kWritable);
  const Array<float> all_scores(logits, "logits");
  const Array<bool> all_flags(allowed, "allowed");
  const Array<double> all_temperatures(temperatures, "temperatures");
  const Array<std::uint64_t> all_keys(keys, "keys");
  const std::span scores = all_scores.span();
  const std::span flags = all_flags.span();
  const std::span temperature = all_temperatures.span();
  const std::span key = all_keys.span();
  const std::size_t rows = tokens.span().size();
  if (rows == 0) return;
  if (scores.size() % rows != 0 || flags.size() != scores.size() || temperature.size() != rows || key.size() != rows) {
    throw py::value_error("logits and allowed must be n rows of one length, temperatures, keys and out of length n");
  }
  for (const double value : temperature) {
    if (std::isnan(value)) throw py::value_error("temperatures must be numbers");
  }
  const std::size_t size = scores.size() / rows;
  const std::optional<Array<double>> all_weights = array_or_none<double>(weights, "weights");
  const std::optional<Array<std::uint8_t>> all_types = array_or_none<std::uint8_t>(types, "types");
  if (all_weights.has_value() != all_types.has_value()) throw py::value_error("weights and types belong together");
  if (all_weights && (all_weights->span().size() != scores.size() || all_types->span().size() != size)) {
    throw py::value_error("weights must be n rows of one length, and types of that length");
  }
  if (all_weights) {
    for (const double value : all_weights->span()) {
      if (!(value >= 0 && std::isfinite(value))) throw py::value_error("weights must be finite and at least 0");
    }
  }
  std::int32_t* const chosen = tokens.writable();
  std::size_t bad = rows;
  {
    const py::gil_scoped_release released;
    for (std::size_t row = 0; row < rows; ++row) {
      midigpt::sample::Weights weights_of_row;
      if (all_weights) weights_of_row = {all_weights->data() + row * size, all_types->data()};
      const std::int32_t token = sampler.native.choose(scores.data() + row * size,
                                                       reinterpret_cast<const std::uint8_t*>(flags.data()) + row * size,
                                                       size, temperature[row], key[row], counter, weights_of_row);
      if (token == -2) bad = row;
      chosen[row] = token;
    }
  }
  if (bad != rows) throw py::value_error("row " + std::to_string(bad) + " has a logit that is not finite");
}

}  // namespace

void bind_token_sampler(py::module_& module) {
  py::class_<TokenSampler>(module, "TokenSampler", "Draws tokens by their logits under fixed filters.")
      .def(py::init(&make_sampler), py::kw_only(), py::arg("top_k") = 0, py::arg("top_p") = 1.0, py::arg("mask_k") = 0,
           py::arg("mask_p") = 0.0)
      .def("choose", &choose, py::arg("logits"), py::arg("allowed"), py::arg("temperatures"), py::arg("keys"),
           py::arg("counter"), py::arg("out"), py::arg("weights") = py::none(), py::arg("types") = py::none(),
           "A token for each of n rows of `logits` float32[n * V] among `allowed` bool[n * V], by number `counter` of\n"
           "its key (midigpt_core.keys.uniforms), into `out` int32[n]; -1 where nothing is allowed. `weights`\n"
           "float64[n * V] and `types` uint8[V]: each type keeps its probability, and a token's share of it is\n"
           "proportional to its probability times its weight. Raises ValueError for a logit that is not finite.");
}
