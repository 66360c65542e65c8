// Grammars that a table declares, for midigpt_core.encoding.token_grammar: whole batches per call, without the GIL.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/buffer.h"
#include "bindings/one_user.h"
#include "token_grammar/declaration.h"
#include "token_grammar/sequence.h"

namespace py = pybind11;
using midigpt::bindings::Array;
using midigpt::bindings::Buffer;
using midigpt::bindings::Fields;
using midigpt::bindings::OneUser;

namespace {

namespace table = midigpt::token_grammar;

template <class T>
std::vector<T> column(const py::object& value, const char* name) {
  return Array<T>(value, name).copy();
}

template <class Enum>
Enum enumerator(int value, Enum last, const char* name) {
  if (value < 0 || value > static_cast<int>(last)) throw py::value_error(std::string(name) + " is not known");
  return static_cast<Enum>(value);
}

table::TokenClass class_of(const py::handle& row) {
  table::TokenClass one;
  one.next = row.attr("next").cast<table::ClassSet>();
  one.ends = row.attr("ends").cast<bool>();
  one.order = enumerator(row.attr("order").cast<int>(), table::Order::NotDescending, "order");
  one.since = row.attr("since").cast<table::ClassSet>();
  one.part = enumerator(row.attr("part").cast<int>(), table::Part::Length, "part");
  one.limit_register = row.attr("limit_register").cast<std::int32_t>();
  one.limits = row.attr("limits").cast<std::map<std::int32_t, std::int32_t>>();
  one.gate_register = row.attr("gate_register").cast<std::int32_t>();
  one.gates = row.attr("gates").cast<std::set<std::int32_t>>();
  const auto ids = column<std::int32_t>(row.attr("tokens"), "tokens");
  const auto values = column<std::int32_t>(row.attr("values"), "values");
  const auto amounts = column<std::int32_t>(row.attr("amounts"), "amounts");
  if (values.size() != ids.size() || amounts.size() != ids.size()) {
    throw py::value_error("the columns of a class differ in length");
  }
  for (std::size_t i = 0; i < ids.size(); ++i) one.tokens.push_back({ids[i], values[i], amounts[i]});
  return one;
}

class TokenGrammar {
 public:
  explicit TokenGrammar(const py::object& compiled) : declaration_(std::make_unique<table::Declaration>()) {
    for (const py::handle row : compiled.attr("classes")) declaration_->classes.push_back(class_of(row));
    declaration_->first = compiled.attr("first").cast<table::ClassSet>();
    declaration_->may_be_empty = compiled.attr("may_be_empty").cast<bool>();
    declaration_->has_tracks = compiled.attr("has_tracks").cast<bool>();
    declaration_->registers = compiled.attr("registers").cast<std::size_t>();
    for (const std::uint8_t role : column<std::uint8_t>(compiled.attr("role"), "role")) {
      declaration_->role.push_back(enumerator(role, table::Role::FillStart, "role"));
    }
    declaration_->class_of = column<std::int32_t>(compiled.attr("class_of"), "class_of");
    declaration_->register_of = column<std::int32_t>(compiled.attr("register_of"), "register_of");
    declaration_->value_of = column<std::int32_t>(compiled.attr("value_of"), "value_of");
    if (const std::string problem = table::problem_of(*declaration_); !problem.empty()) throw py::value_error(problem);
  }

  void start(const py::object& batch, const py::object& request) {
    const OneUser::Call call(user_);
    // Copies: another thread cannot change them between a check and its use.
    Fields documents(batch, Fields::Keep::Copies);
    std::int64_t n = 0;
    std::int64_t total = 0;
    std::int64_t spans = 0;
    documents.array<std::uint8_t>("status", {-1}, &n);
    const std::int64_t* offsets = documents.array<std::int64_t>("offsets", {n + 1});
    const std::int32_t* tokens = documents.array<std::int32_t>("tokens", {-1}, &total);
    const std::int64_t* span = documents.array<std::int64_t>("masked_spans", {-1, 3}, &spans);
    std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> masked(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < spans; ++i, span += 3) {
      if (span[0] < 0 || span[0] >= n) throw py::value_error("masked_spans name a document that is not there");
      masked[static_cast<std::size_t>(span[0])].emplace_back(span[1], span[2]);
    }
    Fields asked(request, Fields::Keep::Copies);
    table::Request row;
    row.max_tracks = tracks_of(asked.get("cells"));
    const std::uint8_t* cells = asked.flags("cells", {n, row.max_tracks, -1}, &row.max_bars);
    const std::int32_t* max_tokens = asked.array<std::int32_t>("max_tokens", {n});
    const std::int32_t* max_notes = asked.array<std::int32_t>("max_notes", {n});
    const std::int32_t* max_polyphony = asked.array<std::int32_t>("max_polyphony", {n});

    const py::gil_scoped_release unlocked;
    std::vector<table::Sequence> sequences(static_cast<std::size_t>(n), table::Sequence(*declaration_));
    for (std::int64_t i = 0; i < n; ++i) {
      const auto index = static_cast<std::size_t>(i);
      if (offsets[i] < 0 || offsets[i + 1] < offsets[i] || offsets[i + 1] > total) {
        throw py::value_error("offsets do not fit the tokens");
      }
      row.script = {tokens + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i])};
      row.masked = masked[index];
      row.cells = cells + i * row.max_tracks * row.max_bars;
      row.max_tokens = std::max(max_tokens[i], 0);
      row.max_notes = std::max(max_notes[i], 0);
      row.max_polyphony = std::max(max_polyphony[i], 0);
      if (const std::string problem = sequences[index].start(row); !problem.empty()) {
        throw py::value_error("document " + std::to_string(i) + ": " + problem);
      }
    }
    sequences_ = std::move(sequences);
    taken_.assign(sequences_.size(), 0);
  }

  py::tuple take() {
    const OneUser::Call call(user_);
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> positions;
    std::vector<std::int64_t> offsets{0};
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      const table::Sequence& sequence = sequences_[i];
      for (std::size_t at = taken_[i]; at < sequence.tokens().size(); ++at) {
        if (sequence.is_masked(at)) continue;
        tokens.push_back(sequence.tokens()[at]);
        positions.push_back(static_cast<std::int32_t>(at));
      }
      taken_[i] = sequence.tokens().size();
      offsets.push_back(static_cast<std::int64_t>(tokens.size()));
    }
    return py::make_tuple(Buffer::of(std::move(tokens)), Buffer::of(std::move(positions)),
                          Buffer::of(std::move(offsets)));
  }

  void mask(const py::buffer& out) const {
    const OneUser::Call call(user_);
    constexpr bool kWritable = true;
    Array<bool> flags(out, "out", kWritable);
    const std::size_t size = declaration_->size();
    if (flags.span().size() != sequences_.size() * size) throw py::value_error("out has not one value for each token");
    bool* row = flags.writable();
    std::fill(row, row + flags.size(), false);
    for (const table::Sequence& sequence : sequences_) {
      for (const std::int32_t token : sequence.allowed()) row[token] = true;
      row += size;
    }
  }

  void advance(const py::buffer& chosen) {
    const OneUser::Call call(user_);
    const std::vector<std::int32_t> tokens = Array<std::int32_t>(chosen, "tokens").copy();
    if (tokens.size() != sequences_.size()) throw py::value_error("tokens must be one per sequence");
    const py::gil_scoped_release unlocked;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (sequences_[i].finished() || sequences_[i].advance(tokens[i])) continue;
      throw py::value_error("sequence " + std::to_string(i) + ": token " + std::to_string(tokens[i]) +
                            " may not come next");
    }
  }

  [[nodiscard]] Buffer finished() const {
    const OneUser::Call call(user_);
    std::vector<std::uint8_t> flags;
    for (const table::Sequence& sequence : sequences_) flags.push_back(sequence.finished() ? 1 : 0);
    return Buffer::of(std::move(flags));
  }

  [[nodiscard]] Buffer bars_written() const {
    const OneUser::Call call(user_);
    std::vector<std::int32_t> counts;
    for (const table::Sequence& sequence : sequences_) counts.push_back(sequence.bars_written());
    return Buffer::of(std::move(counts));
  }

  [[nodiscard]] Buffer document(std::size_t index) const {
    const OneUser::Call call(user_);
    if (index >= sequences_.size()) throw py::index_error("there is no such sequence");
    return Buffer::of(std::vector<std::int32_t>(sequences_[index].tokens()));
  }

 private:
  static std::int64_t tracks_of(const py::object& cells) {
    const auto shape = cells.attr("shape").cast<std::vector<std::int64_t>>();
    return shape.size() == 3 ? shape[1] : 0;
  }

  std::unique_ptr<table::Declaration> declaration_;  // what the sequences refer to
  OneUser user_{"Grammar"};
  std::vector<table::Sequence> sequences_;
  std::vector<std::size_t> taken_;  // tokens of each document that `take` has handed out
};

}  // namespace

void bind_token_grammar(py::module_& module) {
  py::class_<TokenGrammar>(module, "TokenGrammar", "midigpt_core.contracts.Grammar of a compiled declaration.")
      .def(py::init<const py::object&>(), py::arg("compiled"))
      .def("start", &TokenGrammar::start, py::arg("batch"), py::arg("request"))
      .def("take", &TokenGrammar::take)
      .def("mask", &TokenGrammar::mask, py::arg("out"))
      .def("advance", &TokenGrammar::advance, py::arg("tokens"))
      .def("finished", &TokenGrammar::finished)
      .def("bars_written", &TokenGrammar::bars_written)
      .def("document", &TokenGrammar::document, py::arg("index"));
}
