// The native module of the architectures: packed weights, and sequences that are read and gone on with.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings/one_user.h"
#include "transformer/kernels.h"
#include "transformer/model.h"
#include "transformer/sequences.h"

namespace {

namespace py = pybind11;
namespace bindings = midigpt::bindings;
namespace transformer = midigpt::transformer;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

transformer::Precision precision_from(const std::string& name) {
  if (name == "float32") return transformer::Precision::Float32;
  if (name == "bfloat16") return transformer::Precision::Bfloat16;
  if (name == "int8") return transformer::Precision::Int8;
  throw py::value_error("no precision named " + name + "; there are float32, bfloat16 and int8");
}

// Tensors by name, float32, checked against the shape that the model needs of them.
class Named {
 public:
  explicit Named(py::dict tensors) : tensors_(std::move(tensors)) {}

  [[nodiscard]] bool has(const std::string& name) const { return tensors_.contains(name); }

  // Contiguous.
  const float* get(const std::string& name, std::initializer_list<std::size_t> shape) {
    const auto array = Array<float>::ensure(named(name));
    if (!array) throw py::error_already_set();
    return checked(name, array, shape).data();
  }

  const float* find(const std::string& name, std::initializer_list<std::size_t> shape) {
    return has(name) ? get(name, shape) : nullptr;
  }

  transformer::NormTensors norm(const std::string& name, std::size_t width) {
    return {get(name + ".weight", {width}), find(name + ".bias", {width})};
  }

  // [out, in], in whatever order in memory.
  transformer::Matrix linear(const std::string& name, std::size_t in, std::size_t out) {
    const auto array = py::array_t<float>::ensure(named(name + ".weight"));
    if (!array) throw py::error_already_set();
    const py::array_t<float> weight = checked(name + ".weight", array, {out, in});
    const auto stride = [&](int axis) { return weight.strides(axis) / static_cast<py::ssize_t>(sizeof(float)); };
    if (stride(0) < 0 || stride(1) < 0) throw py::value_error("tensor " + name + " is in reversed order");
    return {weight.data(), find(name + ".bias", {out}),         in,
            out,           static_cast<std::size_t>(stride(1)), static_cast<std::size_t>(stride(0))};
  }

 private:
  [[nodiscard]] py::object named(const std::string& name) const {
    if (!has(name)) throw py::value_error("there is no tensor " + name);
    return tensors_[name.c_str()];
  }

  // The array, kept alive.
  template <class T>
  const T& checked(const std::string& name, const T& array, std::initializer_list<std::size_t> shape) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (const std::size_t size : shape) fits = fits && array.shape(axis++) == static_cast<py::ssize_t>(size);
    if (!fits) throw py::value_error("tensor " + name + " has another shape than the model");
    alive_.push_back(array);
    return array;
  }

  py::dict tensors_;
  std::vector<py::array> alive_;
};

std::shared_ptr<transformer::Model> make_model(const py::dict& tensors, std::size_t vocab, std::size_t positions,
                                               std::size_t width, std::size_t layers, std::size_t heads,
                                               std::size_t kv_heads, std::size_t inner, const std::string& precision) {
  if (vocab == 0 || positions == 0 || width == 0 || layers == 0 || inner == 0) {
    throw py::value_error("a model of no size");
  }
  if (heads == 0 || width % heads != 0) throw py::value_error("heads do not divide the width");
  if (kv_heads == 0 || heads % kv_heads != 0) throw py::value_error("heads of keys do not divide the heads");
  const transformer::Shape shape{vocab, positions, width, layers, heads, kv_heads, inner};
  Named named(tensors);
  transformer::Tensors all;
  all.tokens = named.get("tokens", {vocab, width});
  if (named.has("speeds")) {
    if (shape.head_size() % 2 != 0) throw py::value_error("rotary positions need heads of an even width");
    all.speeds = named.get("speeds", {shape.head_size() / 2});
  } else {
    all.positions = named.get("positions", {positions, width});
  }
  for (std::size_t i = 0; i < layers; ++i) {
    const std::string name = std::to_string(i) + ".";
    transformer::LayerTensors layer;
    layer.norm_1 = named.norm(name + "norm_1", width);
    layer.queries = named.linear(name + "queries", width, width);
    layer.keys = named.linear(name + "keys", width, shape.kv_width());
    layer.values = named.linear(name + "values", width, shape.kv_width());
    layer.projection = named.linear(name + "projection", width, width);
    layer.norm_2 = named.norm(name + "norm_2", width);
    if (named.has("0.gate.weight")) layer.gate = named.linear(name + "gate", width, inner);
    layer.expansion = named.linear(name + "expansion", width, inner);
    layer.contraction = named.linear(name + "contraction", inner, width);
    all.layers.push_back(layer);
  }
  all.norm = named.norm("norm", width);
  all.head = named.linear("head", width, vocab);
  const transformer::Precision chosen = precision_from(precision);
  const py::gil_scoped_release released;
  return std::make_shared<transformer::Model>(shape, all, chosen);
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> out;
  for (const transformer::Kernels* kernels : transformer::kernels()) out.emplace_back(kernels->name);
  return out;
}

// Most sequences, and most tokens of each: more is a mistake, found before memory is asked for.
constexpr std::size_t kMostSequences = std::size_t{1} << 20;
constexpr std::size_t kMostTokens = std::size_t{1} << 28;
constexpr std::size_t kMostThreads = 256;

// A copy, which another thread cannot change between a check and its use.
template <class T>
std::vector<T> copied(const Array<T>& values) {
  return {values.data(), values.data() + values.size()};
}

// The arguments of a step, checked.
struct Step {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> positions;
  std::vector<std::int64_t> offsets;
  float* logits = nullptr;
};

class Sequences {
 public:
  Sequences(const std::shared_ptr<transformer::Model>& model, const transformer::Kernels& kernels, std::size_t count,
            std::size_t capacity, std::size_t threads)
      : native_(model, kernels, count, capacity, threads) {}

  void step(const Array<std::int32_t>& tokens, const Array<std::int32_t>& positions, const Array<std::int64_t>& offsets,
            Array<float>& logits);
  void step_together(const py::list& steps);
  void begin_as(const Sequences& other, const Array<std::int64_t>& from);

 private:
  [[nodiscard]] Step checked(const Array<std::int32_t>& tokens, const Array<std::int32_t>& positions,
                             const Array<std::int64_t>& offsets, Array<float>& logits) const;
  void check_lengths(const std::vector<std::int64_t>& offsets, std::size_t tokens) const;
  void check_process() const {
    if (native_.can_read()) return;
    throw std::runtime_error(
        "Sequences: they were opened in another process, whose threads a fork leaves behind. Open them in the process "
        "that reads.");
  }

  transformer::Sequences native_;
  bindings::OneUser user_{"Sequences"};
};

std::unique_ptr<Sequences> make_sequences(const std::shared_ptr<transformer::Model>& model, std::size_t count,
                                          std::size_t capacity, std::size_t threads,
                                          const std::string& instruction_set) {
  if (count > kMostSequences || capacity > kMostTokens) {
    throw py::value_error("count must be at most " + std::to_string(kMostSequences) + ", capacity at most " +
                          std::to_string(kMostTokens));
  }
  for (const transformer::Kernels* kernels : transformer::kernels()) {
    if (kernels->name != instruction_set) continue;
    return std::make_unique<Sequences>(model, *kernels, count, capacity, std::min(threads, kMostThreads));
  }
  throw py::value_error("this processor has no " + instruction_set);
}

void Sequences::check_lengths(const std::vector<std::int64_t>& offsets, std::size_t tokens) const {
  if (offsets.front() != 0 || offsets.back() != static_cast<std::int64_t>(tokens)) {
    throw py::value_error("offsets do not cover the tokens");
  }
  for (std::size_t n = 0; n < native_.count(); ++n) {
    if (offsets[n + 1] < offsets[n]) throw py::value_error("offsets descend");
  }
  for (std::size_t n = 0; n < native_.count(); ++n) {
    if (native_.length(n) + static_cast<std::size_t>(offsets[n + 1] - offsets[n]) > native_.capacity()) {
      throw py::value_error("sequence " + std::to_string(n) + " is longer than its cache");
    }
  }
}

Step Sequences::checked(const Array<std::int32_t>& tokens, const Array<std::int32_t>& positions,
                        const Array<std::int64_t>& offsets, Array<float>& logits) const {
  const transformer::Shape& shape = native_.model().shape();
  const auto count = static_cast<py::ssize_t>(native_.count());
  if (tokens.ndim() != 1 || positions.ndim() != 1 || positions.size() != tokens.size()) {
    throw py::value_error("tokens and positions must be of one length");
  }
  if (offsets.ndim() != 1 || offsets.size() != count + 1) {
    throw py::value_error("offsets must be one more than sequences");
  }
  if (logits.ndim() != 2 || logits.shape(0) != count || logits.shape(1) != static_cast<py::ssize_t>(shape.vocab)) {
    throw py::value_error("logits must be float32[sequences, vocabulary]");
  }
  Step step{copied(tokens), copied(positions), copied(offsets), logits.mutable_data()};
  check_lengths(step.offsets, step.tokens.size());
  for (const std::int32_t token : step.tokens) {
    if (token < 0 || static_cast<std::size_t>(token) >= shape.vocab) {
      throw py::value_error("token " + std::to_string(token) + " is outside the vocabulary");
    }
  }
  for (const std::int32_t position : step.positions) {
    if (position < 0 || static_cast<std::size_t>(position) >= shape.positions) {
      throw py::value_error("position " + std::to_string(position) + " is beyond the model's " +
                            std::to_string(shape.positions));
    }
  }
  return step;
}

void Sequences::step(const Array<std::int32_t>& tokens, const Array<std::int32_t>& positions,
                     const Array<std::int64_t>& offsets, Array<float>& logits) {
  const bindings::OneUser::Call call(user_);
  check_process();
  const Step step = checked(tokens, positions, offsets, logits);
  const py::gil_scoped_release released;
  native_.step(step.tokens, step.positions, step.offsets, step.logits);
}

void Sequences::step_together(const py::list& steps) {
  const bindings::OneUser::Call call(user_);
  check_process();
  const std::size_t count = steps.size();
  std::vector<std::unique_ptr<bindings::OneUser::Call>> calls;
  std::vector<py::tuple> kept;  // whatever becomes of the list
  std::vector<Step> checked_steps(count);
  std::vector<transformer::Sequences::Reading> readings;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& parts = kept.emplace_back(steps[i].cast<py::tuple>());
    if (parts.size() != 5) throw py::value_error("a step is sequences, tokens, positions, offsets and logits");
    auto& into = parts[0].cast<Sequences&>();
    if (&into == this) throw py::value_error("sequences that read for others do not read themselves");
    if (&into.native_.model() != &native_.model()) throw py::value_error("the sequences are of another model");
    if (into.native_.capacity() > native_.capacity()) throw py::value_error("a sequence is too long");
    calls.push_back(std::make_unique<bindings::OneUser::Call>(into.user_));
    auto logits = parts[4].cast<py::array>();
    if (!py::isinstance<Array<float>>(logits)) throw py::value_error("logits must be contiguous and float32");
    auto rows = py::reinterpret_borrow<Array<float>>(logits);
    checked_steps[i] = into.checked(parts[1].cast<Array<std::int32_t>>(), parts[2].cast<Array<std::int32_t>>(),
                                    parts[3].cast<Array<std::int64_t>>(), rows);
    const Step& step = checked_steps[i];
    readings.push_back({&into.native_, step.tokens, step.positions, step.offsets, step.logits});
  }
  const py::gil_scoped_release released;
  native_.step_together(readings);
}

void Sequences::begin_as(const Sequences& other, const Array<std::int64_t>& from) {
  if (this == &other) throw py::value_error("sequences cannot begin as themselves");
  const bindings::OneUser::Call call(user_);
  const bindings::OneUser::Call call_of_other(other.user_);
  if (from.ndim() != 1 || from.size() != static_cast<py::ssize_t>(native_.count())) {
    throw py::value_error("one source per sequence is needed");
  }
  const std::vector<std::int64_t> sources = copied(from);
  for (const std::int64_t source : sources) {
    if (source < 0 || static_cast<std::size_t>(source) >= other.native_.count()) {
      throw py::value_error("there is no such sequence");
    }
    if (other.native_.length(static_cast<std::size_t>(source)) > native_.capacity()) {
      throw py::value_error("a sequence is too long");
    }
  }
  for (std::size_t n = 0; n < native_.count(); ++n) {
    if (native_.length(n) != 0) throw py::value_error("a sequence that has read cannot begin");
  }
  if (&native_.model() != &other.native_.model()) throw py::value_error("the sequences are of another model");
  const py::gil_scoped_release released;
  native_.begin_as(other.native_, sources);
}

}  // namespace

PYBIND11_MODULE(_reader, m) {
  m.doc() = "Transformers that read token sequences on the CPU and keep their keys and values.";
  m.def("instruction_sets", &instruction_sets, "The kernels that this processor can run, the fastest first.");
  py::class_<transformer::Model, std::shared_ptr<transformer::Model>>(m, "Model")
      .def(py::init(&make_model), py::arg("tensors"), py::kw_only(), py::arg("vocab"), py::arg("positions"),
           py::arg("width"), py::arg("layers"), py::arg("heads"), py::arg("kv_heads"), py::arg("inner"),
           py::arg("precision"));
  py::class_<Sequences>(m, "Sequences")
      .def(py::init(&make_sequences), py::arg("model"), py::kw_only(), py::arg("count"), py::arg("capacity"),
           py::arg("threads"), py::arg("instruction_set"))
      .def("step", &Sequences::step, py::arg("tokens"), py::arg("positions"), py::arg("offsets"),
           py::arg("logits").noconvert())
      .def("step_together", &Sequences::step_together, py::arg("steps"))
      .def("begin_as", &Sequences::begin_as, py::arg("other"), py::arg("sources"));
}
