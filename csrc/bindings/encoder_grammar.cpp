// The grammar of a batch of sequences, for Python: whole batches per call, without the GIL.
#include "bindings/encoder_grammar.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/one_user.h"
#include "grammar/grammar.h"

namespace midigpt::bindings {

namespace {

namespace py = pybind11;
using grammar::Sequence;
using vocab::Codebook;

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// The masked spans of each document, from int64[S, 3] rows (document, begin, end).
std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> spans_by_document(const std::int64_t* rows,
                                                                                  std::int64_t count,
                                                                                  std::int64_t documents) {
  std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> out(static_cast<std::size_t>(documents));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t document = rows[3 * i];
    if (document < 0 || document >= documents) throw py::value_error("masked_spans name a document that is not there");
    out[static_cast<std::size_t>(document)].emplace_back(rows[3 * i + 1], rows[3 * i + 2]);
  }
  return out;
}

// The controls of the bars of N documents, from a records.BarControls.
class BatchControls {
 public:
  // Copies all arrays and checks every index.
  BatchControls(const py::object& record, std::int64_t documents, std::int64_t tracks, std::int64_t bars)
      : fields_(record, Fields::Keep::Copies), cells_(tracks * bars) {
    const auto rows = [&](const char* name) { return fields_.array<std::int32_t>(name, {documents, tracks, bars}); };
    const std::int32_t* pitch_rows = rows("pitch_rows");
    const std::int32_t* pitch_weight_rows = rows("pitch_weight_rows");
    const std::int32_t* position_weight_rows = rows("position_weight_rows");
    const std::int32_t* schedule_rows = rows("schedule_rows");
    std::int64_t sets = 0;
    std::int64_t pitch_tables = 0;
    std::int64_t ends = 0;
    std::int64_t notes = 0;
    const std::uint8_t* pitches = fields_.flags("pitches", {-1, grammar::kPitches}, &sets);
    const float* pitch_weights = fields_.array<float>("pitch_weights", {-1, grammar::kPitches}, &pitch_tables);
    const auto [position_weights, position_tables, positions] = table("position_weights");
    const std::int64_t* offsets = fields_.array<std::int64_t>("schedule_offsets", {-1}, &ends);
    const std::int32_t* note = fields_.array<std::int32_t>("scheduled_notes", {-1, 5}, &notes);
    require_weights(pitch_weights, pitch_tables * grammar::kPitches);
    require_weights(position_weights, position_tables * positions);
    if (ends < 1) throw py::value_error("schedule_offsets must have a value more than there are schedules");
    for (std::int64_t i = 0; i < ends; ++i) {
      if (offsets[i] < (i > 0 ? offsets[i - 1] : 0) || offsets[i] > notes) {
        throw py::value_error("schedule_offsets do not fit the scheduled notes");
      }
    }
    for (std::int64_t i = 0; i < notes; ++i, note += 5) notes_.push_back({note[0], note[1], note[2], note[3], note[4]});
    controls_.resize(static_cast<std::size_t>(documents * cells_));
    for (std::size_t i = 0; i < controls_.size(); ++i) {
      grammar::BarControls& of_bar = controls_[i];
      if (is_row(pitch_rows[i], sets)) of_bar.pitches = pitches + pitch_rows[i] * std::int64_t{grammar::kPitches};
      if (is_row(pitch_weight_rows[i], pitch_tables)) {
        of_bar.pitch_weights = pitch_weights + pitch_weight_rows[i] * std::int64_t{grammar::kPitches};
      }
      if (is_row(position_weight_rows[i], position_tables)) {
        of_bar.position_weights = {position_weights + position_weight_rows[i] * positions,
                                   static_cast<std::size_t>(positions)};
      }
      if (is_row(schedule_rows[i], ends - 1)) {
        const std::int64_t first = offsets[schedule_rows[i]];
        of_bar.schedule = {notes_.data() + first, static_cast<std::size_t>(offsets[schedule_rows[i] + 1] - first)};
        of_bar.is_scheduled = true;
      }
    }
  }

  [[nodiscard]] const grammar::BarControls* of_document(std::int64_t document) const {
    return controls_.data() + document * cells_;
  }

 private:
  struct Table {
    const float* values;
    std::int64_t rows;
    std::int64_t columns;
  };

  Table table(const char* name) {
    const py::object value = fields_.get(name);
    const py::array array = py::isinstance<py::array>(value) ? py::reinterpret_borrow<py::array>(value) : py::array();
    const std::int64_t columns = array.ndim() == 2 ? array.shape(1) : 0;
    std::int64_t rows = 0;
    const float* const values = fields_.check<float>(name, value, {-1, columns}, &rows);
    return {values, rows, columns};
  }

  static bool is_row(std::int32_t row, std::int64_t count) {
    if (row >= count) throw py::value_error("bar_controls name row " + std::to_string(row) + ", which is not there");
    return row >= 0;
  }

  static void require_weights(const float* weights, std::int64_t count) {
    const bool good =
        std::all_of(weights, weights + count, [](float weight) { return weight >= 0 && std::isfinite(weight); });
    if (!good) throw py::value_error("weights must be finite and at least 0");
  }

  Fields fields_;
  std::int64_t cells_;
  std::vector<grammar::ScheduledNote> notes_;
  std::vector<grammar::BarControls> controls_;
};

class BatchGrammar {
 public:
  explicit BatchGrammar(std::shared_ptr<Codebook> book) : book_(std::move(book)) {}

  void start(const py::object& batch, const py::object& request) {
    const OneUser::Call call(user_);
    // Copies: another thread cannot change them between a check and its use.
    Fields documents(batch, Fields::Keep::Copies);
    std::int64_t n = 0;
    std::int64_t total = 0;
    std::int64_t spans = 0;
    const std::uint8_t* status = documents.array<std::uint8_t>("status", {-1}, &n);
    const std::int64_t* offsets = documents.array<std::int64_t>("offsets", {n + 1});
    const std::int32_t* tokens = documents.array<std::int32_t>("tokens", {-1}, &total);
    const std::int64_t* span_rows = documents.array<std::int64_t>("masked_spans", {-1, 3}, &spans);
    const auto masked = spans_by_document(span_rows, spans, n);
    Fields asked(request, Fields::Keep::Copies);
    grammar::Request row;
    row.max_tracks = asked_tracks(request);
    const std::uint8_t* cells = asked.flags("cells", {n, row.max_tracks, -1}, &row.max_bars);
    const std::uint8_t* choose = asked.flags("choose_attributes", {n});
    const std::int32_t* max_tokens = asked.array<std::int32_t>("max_tokens", {n});
    const std::int32_t* max_notes = asked.array<std::int32_t>("max_notes", {n});
    const std::int32_t* max_polyphony = asked.array<std::int32_t>("max_polyphony", {n});
    std::unique_ptr<BatchControls> controls;
    if (const py::object record = asked.get("bar_controls"); !record.is_none()) {
      controls = std::make_unique<BatchControls>(record, n, row.max_tracks, row.max_bars);
    }

    const py::gil_scoped_release unlocked;
    std::vector<Sequence> sequences(static_cast<std::size_t>(n), Sequence(*book_));
    for (std::int64_t i = 0; i < n; ++i) {
      const auto index = static_cast<std::size_t>(i);
      if (status[i] > 2) throw py::value_error("document " + std::to_string(i) + " has no tokens");
      if (offsets[i] < 0 || offsets[i + 1] < offsets[i] || offsets[i + 1] > total) {
        throw py::value_error("offsets do not fit the tokens");
      }
      row.script = {tokens + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i])};
      row.masked = masked[index];
      row.cells = cells + i * row.max_tracks * row.max_bars;
      row.choose_attributes = choose[i] != 0;
      row.max_tokens = max_tokens[i];
      row.max_notes = max_notes[i];
      row.max_polyphony = max_polyphony[i];
      row.controls = controls == nullptr ? nullptr : controls->of_document(i);
      if (const std::string problem = sequences[index].start(row); !problem.empty()) {
        throw py::value_error("document " + std::to_string(i) + ": " + problem);
      }
    }
    sequences_ = std::move(sequences);
    controls_ = std::move(controls);
    taken_.assign(sequences_.size(), 0);
  }

  py::tuple take() {
    const OneUser::Call call(user_);
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> positions;
    std::vector<std::int64_t> offsets{0};
    collect(tokens, positions, offsets);
    return py::make_tuple(to_array(tokens), to_array(positions), to_array(offsets));
  }

  void mask(py::array_t<bool, py::array::c_style>& out) const {
    const OneUser::Call call(user_);
    const auto n = static_cast<py::ssize_t>(sequences_.size());
    if (out.ndim() != 2 || out.shape(0) != n || out.shape(1) != book_->vocab_size()) {
      throw py::value_error("out must be bool[" + std::to_string(n) + ", " + std::to_string(book_->vocab_size()) + "]");
    }
    bool* row = out.mutable_data();
    const std::size_t size = static_cast<std::size_t>(out.size());
    const py::gil_scoped_release unlocked;
    std::fill(row, row + size, false);
    for (const Sequence& sequence : sequences_) {
      for (const grammar::Range& range : sequence.allowed()) std::fill_n(row + range.first, range.count, true);
      row += book_->vocab_size();
    }
  }

  void weights(py::array_t<double, py::array::c_style>& out) const {
    const OneUser::Call call(user_);
    const auto n = static_cast<py::ssize_t>(sequences_.size());
    if (out.ndim() != 2 || out.shape(0) != n || out.shape(1) != book_->vocab_size()) {
      throw py::value_error("out must be float64[" + std::to_string(n) + ", " + std::to_string(book_->vocab_size()) +
                            "]");
    }
    double* row = out.mutable_data();
    const py::gil_scoped_release unlocked;
    for (const Sequence& sequence : sequences_) {
      sequence.weigh(row);
      row += book_->vocab_size();
    }
  }

  void advance(const py::array_t<std::int32_t, py::array::c_style>& tokens) {
    const OneUser::Call call(user_);
    if (tokens.ndim() != 1 || tokens.shape(0) != static_cast<py::ssize_t>(sequences_.size())) {
      throw py::value_error("tokens must be one per sequence");
    }
    const std::int32_t* token = tokens.data();
    const py::gil_scoped_release unlocked;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (sequences_[i].finished() || sequences_[i].advance(token[i])) continue;
      throw py::value_error("sequence " + std::to_string(i) + ": token " + std::to_string(token[i]) +
                            " may not come next");
    }
  }

  [[nodiscard]] py::array_t<bool> finished() const {
    const OneUser::Call call(user_);
    py::array_t<bool> out(static_cast<py::ssize_t>(sequences_.size()));
    std::transform(sequences_.begin(), sequences_.end(), out.mutable_data(),
                   [](const Sequence& sequence) { return sequence.finished(); });
    return out;
  }

  [[nodiscard]] py::array_t<std::int32_t> bars_written() const {
    const OneUser::Call call(user_);
    py::array_t<std::int32_t> out(static_cast<py::ssize_t>(sequences_.size()));
    std::transform(sequences_.begin(), sequences_.end(), out.mutable_data(),
                   [](const Sequence& sequence) { return sequence.bars_written(); });
    return out;
  }

  [[nodiscard]] py::array_t<std::int32_t> document(std::size_t index) const {
    const OneUser::Call call(user_);
    if (index >= sequences_.size()) throw py::index_error("there is no such sequence");
    return to_array(sequences_[index].tokens());
  }

 private:
  // What was not taken yet.
  void collect(std::vector<std::int32_t>& tokens, std::vector<std::int32_t>& positions,
               std::vector<std::int64_t>& offsets) {
    const py::gil_scoped_release unlocked;
    std::size_t total = 0;
    for (std::size_t i = 0; i < sequences_.size(); ++i) total += sequences_[i].tokens().size() - taken_[i];
    tokens.reserve(total);
    positions.reserve(total);
    offsets.reserve(sequences_.size() + 1);
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      const Sequence& sequence = sequences_[i];
      for (std::size_t at = taken_[i]; at < sequence.tokens().size(); ++at) {
        if (sequence.is_masked(at)) continue;
        tokens.push_back(sequence.tokens()[at]);
        positions.push_back(sequence.position(at));
      }
      taken_[i] = sequence.tokens().size();
      offsets.push_back(static_cast<std::int64_t>(tokens.size()));
    }
  }

  static std::int64_t asked_tracks(const py::object& request) {
    const py::array cells = request.attr("cells");
    return cells.ndim() == 3 ? cells.shape(1) : 0;
  }

  std::shared_ptr<Codebook> book_;
  OneUser user_{"Grammar"};
  std::unique_ptr<BatchControls> controls_;  // what the sequences refer to
  std::vector<Sequence> sequences_;
  std::vector<std::size_t> taken_;  // tokens of each document that `take` has handed out
};

}  // namespace

void bind_grammar(py::module_& m) {
  py::class_<BatchGrammar>(m, "Grammar", "midigpt_core.contracts.Grammar of one codebook.")
      .def(py::init<std::shared_ptr<Codebook>>(), py::arg("codebook"))
      .def("start", &BatchGrammar::start, py::arg("batch"), py::arg("request"))
      .def("take", &BatchGrammar::take)
      .def("mask", &BatchGrammar::mask, py::arg("out").noconvert())
      .def("weights", &BatchGrammar::weights, py::arg("out").noconvert())
      .def("advance", &BatchGrammar::advance, py::arg("tokens"))
      .def("finished", &BatchGrammar::finished)
      .def("bars_written", &BatchGrammar::bars_written)
      .def("document", &BatchGrammar::document, py::arg("index"));
}

}  // namespace midigpt::bindings
