// Windows and packing for midigpt_core.data: checks everything that Python hands in, then works without the GIL.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/columns_argument.h"
#include "sample/packing.h"
#include "sample/philox.h"
#include "sample/windows.h"
#include "score/music_keys.h"

namespace py = pybind11;
using midigpt::bindings::Array;
using midigpt::bindings::ColumnsArgument;
namespace sample = midigpt::sample;
namespace score = midigpt::score;

namespace {

sample::WindowRules checked_rules(std::vector<std::int32_t> sizes, std::int32_t min_tracks, std::int32_t max_tracks,
                                  double min_fill_ratio) {
  std::sort(sizes.begin(), sizes.end());
  if (sizes.empty() || sizes.front() < 1 || std::adjacent_find(sizes.begin(), sizes.end()) != sizes.end()) {
    throw py::value_error("window sizes must be at least 1 and all different");
  }
  if (min_tracks < 1 || max_tracks < min_tracks) {
    throw py::value_error("tracks must satisfy 1 <= min_tracks <= max_tracks");
  }
  if (!(min_fill_ratio >= 0.0 && min_fill_ratio <= 1.0)) {
    throw py::value_error("min_fill_ratio must lie in 0 .. 1");
  }
  return {std::move(sizes), min_tracks, max_tracks, min_fill_ratio};
}

// Draws windows from the shards of a corpus.
class WindowSampler {
 public:
  WindowSampler(const py::sequence& shards, std::vector<std::int32_t> sizes, std::int32_t min_tracks,
                std::int32_t max_tracks, double min_fill_ratio)
      : rules_(checked_rules(std::move(sizes), min_tracks, max_tracks, min_fill_ratio)), first_piece_{0} {
    shards_.reserve(shards.size());
    for (const py::handle shard : shards) {
      shards_.emplace_back(py::reinterpret_borrow<py::object>(shard));
      first_piece_.push_back(first_piece_.back() + shards_.back().num_pieces());
    }
  }

  void draw(const py::object& pieces, const py::object& keys, const py::object& start_bar, const py::object& num_bars,
            const py::object& tracks, const py::object& status) const {
    const Array<std::int64_t> piece(pieces, "pieces");
    const Array<std::uint64_t> key(keys, "keys");
    Array<std::int32_t> start(start_bar, "start_bar", true);
    Array<std::int32_t> bars(num_bars, "num_bars", true);
    Array<std::int32_t> track(tracks, "tracks", true);
    Array<std::uint8_t> outcome(status, "status", true);
    const std::int64_t count = piece.size();
    const std::vector<std::int64_t> asked = piece.copy();
    if (key.size() != count || start.size() != count || bars.size() != count || outcome.size() != count ||
        track.size() != count * rules_.max_tracks) {
      throw py::value_error("pieces, keys and results differ in length");
    }
    for (const std::int64_t wanted : asked) {
      if (wanted < 0 || wanted >= first_piece_.back()) {
        throw py::index_error("piece " + std::to_string(wanted) + " is not in the corpus of " +
                              std::to_string(first_piece_.back()) + " pieces");
      }
    }
    std::int32_t* const track_out = track.writable();
    std::int32_t* const start_out = start.writable();
    std::int32_t* const bars_out = bars.writable();
    std::uint8_t* const outcome_out = outcome.writable();
    const py::gil_scoped_release unlocked;
    std::fill(track_out, track_out + track.size(), -1);
    sample::WindowFinder finder;
    for (std::int64_t i = 0; i < count; ++i) {
      sample::Window window;
      const auto result = draw_one(finder, asked[static_cast<std::size_t>(i)], key.data()[i], window,
                                   track_out + i * rules_.max_tracks);
      start_out[i] = window.start_bar;
      bars_out[i] = window.num_bars;
      outcome_out[i] = static_cast<std::uint8_t>(result);
    }
  }

 private:
  [[nodiscard]] sample::WindowStatus draw_one(sample::WindowFinder& finder, std::int64_t piece, std::uint64_t key,
                                              sample::Window& window, std::int32_t* tracks) const {
    const auto after = std::upper_bound(first_piece_.begin(), first_piece_.end(), piece);
    const auto shard = static_cast<std::size_t>(after - first_piece_.begin()) - 1;
    const score::BoundedColumns& bounded = shards_[shard].bounded();
    const score::PieceView view(bounded.columns, piece - first_piece_[shard]);
    if (!bounded.is_sound(view)) return sample::WindowStatus::Damaged;
    return finder.draw(view, rules_, key, window, tracks);
  }

  sample::WindowRules rules_;
  std::vector<ColumnsArgument> shards_;
  std::vector<std::int64_t> first_piece_;  // by shard, and the number of all pieces
};

// [(start, [good tracks])] of every valid start, for tests and for looking at a piece.
std::vector<std::pair<std::int32_t, std::vector<std::int32_t>>> valid_windows(const py::object& columns,
                                                                              std::int64_t piece, std::int32_t num_bars,
                                                                              double min_fill_ratio,
                                                                              std::int32_t min_tracks) {
  const auto rules = checked_rules({num_bars}, min_tracks, min_tracks, min_fill_ratio);
  const ColumnsArgument shard(columns);
  if (piece < 0 || piece >= shard.num_pieces()) throw py::index_error("no such piece in the columns");
  const score::PieceView view(shard.bounded().columns, piece);
  if (!shard.bounded().is_sound(view)) throw py::value_error("the columns of the piece are damaged");
  const std::int64_t needed = sample::bars_needed(num_bars, min_fill_ratio);
  sample::WindowFinder finder;
  std::vector<std::pair<std::int32_t, std::vector<std::int32_t>>> found;
  for (const std::int32_t start : finder.valid_starts(view, num_bars, needed, rules.min_tracks)) {
    found.emplace_back(start, finder.good_tracks(view, start, num_bars, needed));
  }
  return found;
}

void have_windows(const py::object& columns, std::vector<std::int32_t> sizes, double min_fill_ratio,
                  std::int32_t min_tracks, const py::object& out) {
  const auto rules = checked_rules(std::move(sizes), min_tracks, min_tracks, min_fill_ratio);
  const ColumnsArgument shard(columns);
  Array<bool> found(out, "out", true);
  if (found.size() != shard.num_pieces()) throw py::value_error("out is not of one value per piece");
  bool* const has_window = found.writable();
  std::int64_t piece = 0;
  bool sound = true;
  {
    const py::gil_scoped_release unlocked;
    sample::WindowFinder finder;
    for (; piece < found.size() && sound; ++piece) {
      const score::PieceView view(shard.bounded().columns, piece);
      sound = shard.bounded().is_sound(view);
      if (sound) has_window[piece] = finder.has_window(view, rules);
    }
  }
  if (!sound) throw py::value_error("the columns of piece " + std::to_string(piece - 1) + " are damaged");
}

void music_keys(const py::object& columns, const py::object& exact, const py::object& sketch, const py::object& bars) {
  const ColumnsArgument shard(columns);
  Array<std::uint64_t> whole(exact, "exact", true);
  Array<std::uint32_t> values(sketch, "sketch", true);
  Array<std::int64_t> different(bars, "bars", true);
  const std::int64_t pieces = shard.num_pieces();
  if (whole.size() != pieces || different.size() != pieces ||
      values.size() != pieces * static_cast<std::int64_t>(score::kSketchSize)) {
    throw py::value_error("the results are not of one key per piece");
  }
  std::uint64_t* const exact_out = whole.writable();
  std::uint32_t* const sketch_out = values.writable();
  std::int64_t* const bars_out = different.writable();
  std::int64_t piece = 0;
  bool sound = true;
  {
    const py::gil_scoped_release unlocked;
    score::MusicKeyFinder finder;
    score::MusicKeys keys;
    for (; piece < pieces && sound; ++piece) {
      sound = finder.find(shard.bounded(), {shard.bounded().columns, piece}, keys);
      if (!sound) continue;
      exact_out[piece] = keys.exact;
      bars_out[piece] = keys.bars;
      std::copy(keys.sketch.begin(), keys.sketch.end(),
                sketch_out + piece * static_cast<std::int64_t>(score::kSketchSize));
    }
  }
  if (!sound) throw py::value_error("the columns of piece " + std::to_string(piece - 1) + " are damaged");
}

void philox(const py::object& counter, const py::object& key, const py::object& out) {
  const Array<std::uint64_t> counters(counter, "counter");
  const Array<std::uint64_t> keys(key, "key");
  Array<std::uint64_t> words(out, "out", true);
  const std::int64_t count = keys.size();
  if (counters.size() != 2 * count || words.size() != 2 * count) {
    throw py::value_error("counter and out must hold two words per key");
  }
  const std::uint64_t* const in = counters.data();
  std::uint64_t* const result = words.writable();
  for (std::int64_t i = 0; i < count; ++i) {
    const sample::PhiloxWords drawn = sample::philox({in[2 * i], in[2 * i + 1]}, keys.data()[i]);
    result[2 * i] = drawn.first;
    result[2 * i + 1] = drawn.second;
  }
}

std::vector<double> uniforms(std::uint64_t key, std::size_t count) {
  sample::Uniforms numbers(key);
  std::vector<double> values(count);
  for (double& value : values) value = numbers.next();
  return values;
}

void best_fit(const py::object& lengths, std::int64_t num_rows, std::int64_t row_length, const py::object& rows) {
  const std::vector<std::int64_t> length = Array<std::int64_t>(lengths, "lengths").copy();
  Array<std::int32_t> row(rows, "rows", true);
  if (row.size() != std::ssize(length)) throw py::value_error("lengths and rows differ in length");
  if (num_rows < 1 || num_rows > INT32_MAX || row_length < 1) throw py::value_error("no rows to pack into");
  if (std::any_of(length.begin(), length.end(), [](std::int64_t value) { return value < 0; })) {
    throw py::value_error("a document's length is negative");
  }
  std::int32_t* const out = row.writable();
  const py::gil_scoped_release unlocked;
  sample::best_fit_decreasing(length.data(), std::ssize(length), num_rows, row_length, out);
}

void fill_rows(const py::object& tokens, const py::object& positions, const py::object& role, const py::object& offsets,
               const py::object& rows, std::int64_t row_length, const py::object& input_ids, const py::object& labels,
               const py::object& position_ids, const py::object& document_ids, const py::object& row_role) {
  const Array<std::int32_t> token(tokens, "tokens");
  std::vector<Array<std::int32_t>> given;  // none or one
  if (!positions.is_none()) given.emplace_back(positions, "positions");
  const Array<std::uint8_t> token_role(role, "role");
  const std::vector<std::int64_t> offset = Array<std::int64_t>(offsets, "offsets").copy();
  const std::vector<std::int32_t> row = Array<std::int32_t>(rows, "rows").copy();
  Array<std::int64_t> ids(input_ids, "input_ids", true);
  Array<std::int64_t> label(labels, "labels", true);
  Array<std::int64_t> position(position_ids, "position_ids", true);
  Array<std::int32_t> document(document_ids, "document_ids", true);
  Array<std::uint8_t> out_role(row_role, "row_role", true);
  const std::int64_t cells = ids.size();
  if (row_length < 1 || cells % row_length != 0 || label.size() != cells || position.size() != cells ||
      document.size() != cells || out_role.size() != cells) {
    throw py::value_error("the rows differ in size");
  }
  if (offset.size() != row.size() + 1 || token_role.size() != token.size() ||
      (!given.empty() && given[0].size() != token.size())) {
    throw py::value_error("the documents' columns differ in length");
  }
  const sample::Documents documents{token.data(),      given.empty() ? nullptr : given[0].data(),
                                    token_role.data(), offset.data(),
                                    row.data(),        std::ssize(row)};
  const sample::Rows out{ids.writable(),      label.writable(),   position.writable(), document.writable(),
                         out_role.writable(), cells / row_length, row_length};
  bool fits = false;
  {
    const py::gil_scoped_release unlocked;
    fits = sample::documents_fit(documents, token.size(), out);
    if (fits) sample::fill_rows(documents, out);
  }
  if (!fits) throw py::value_error("the documents do not fit in their rows");
}

}  // namespace

// Window sampling and packing for midigpt_core.data.
void bind_sample(py::module_& module);

void bind_sample(py::module_& module) {
  py::class_<WindowSampler>(module, "WindowSampler", "Draws windows from the shards of a corpus.")
      .def(py::init<const py::sequence&, std::vector<std::int32_t>, std::int32_t, std::int32_t, double>(),
           py::arg("columns"), py::kw_only(), py::arg("sizes"), py::arg("min_tracks"), py::arg("max_tracks"),
           py::arg("min_fill_ratio"))
      .def("draw", &WindowSampler::draw, py::arg("pieces"), py::arg("keys"), py::kw_only(), py::arg("start_bar"),
           py::arg("num_bars"), py::arg("tracks"), py::arg("status"),
           "Draw one window per piece int64[n] and key uint64[n] into int32[n], int32[n], int32[n * max_tracks] (-1 "
           "beyond the last track) and uint8[n] (0 drawn, 1 no valid start, 2 damaged columns).");
  module.def("valid_windows", &valid_windows, py::arg("columns"), py::arg("piece"), py::arg("num_bars"),
             py::arg("min_fill_ratio"), py::arg("min_tracks"),
             "[(start, [good tracks])] of every start with at least min_tracks good tracks.");
  module.def("have_windows", &have_windows, py::arg("columns"), py::kw_only(), py::arg("sizes"),
             py::arg("min_fill_ratio"), py::arg("min_tracks"), py::arg("out"),
             "Write into bool[P] whether each piece has a valid start for any of the sizes.");
  module.def("music_keys", &music_keys, py::arg("columns"), py::kw_only(), py::arg("exact"), py::arg("sketch"),
             py::arg("bars"),
             "Write into uint64[P], uint32[P * 32] and int64[P] the keys of each piece (score/similarity.py).");
  module.def("best_fit", &best_fit, py::arg("lengths"), py::kw_only(), py::arg("num_rows"), py::arg("row_length"),
             py::arg("rows"), "Pack documents of int64[D] tokens best-fit decreasing: rows int32[D], -1 left over.");
  module.def("fill_rows", &fill_rows, py::kw_only(), py::arg("tokens"), py::arg("positions"), py::arg("role"),
             py::arg("offsets"), py::arg("rows"), py::arg("row_length"), py::arg("input_ids"), py::arg("labels"),
             py::arg("position_ids"), py::arg("document_ids"), py::arg("row_role"),
             "Write documents into the rows of a PackedBatch (flat arrays).");
  module.def("philox", &philox, py::arg("counter"), py::arg("key"), py::arg("out"),
             "Philox4x32-10 of counters uint64[2 * n] under keys uint64[n] into uint64[2 * n].");
  module.def("uniforms", &uniforms, py::arg("key"), py::arg("count"),
             "The numbers of one key, equal to midigpt_core.keys.uniforms.");
}
