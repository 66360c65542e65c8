// The encoder plugin's native module: codebooks, encoding in batches, decoding. Whatever Python passes is checked here
// before native code follows it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/columns_argument.h"
#include "bindings/encoder_grammar.h"
#include "decode/decoder.h"
#include "encode/encoder.h"
#include "vocab/codebook.h"
#include "vocab/document_positions.h"

namespace {

namespace py = pybind11;
using midigpt::bindings::ColumnsArgument;
using midigpt::bindings::Fields;
using midigpt::vocab::Codebook;
namespace decode = midigpt::decode;
namespace encode = midigpt::encode;
namespace vocab = midigpt::vocab;

constexpr int kMaxThreads = 256;
constexpr std::int64_t kMaxDocument = std::int64_t{1} << 28;

template <class T>
T setting(const py::dict& settings, const char* name) {
  if (!settings.contains(name)) throw py::value_error(std::string(name) + " is missing");
  try {
    return settings[name].cast<T>();
  } catch (const py::cast_error&) {
    throw py::type_error(std::string(name) + " has the wrong type");
  }
}

template <class Enum>
Enum choice(const std::string& value, std::initializer_list<std::pair<const char*, Enum>> choices) {
  for (const auto& [name, result] : choices) {
    if (value == name) return result;
  }
  throw py::value_error("attribute_controls: unknown parameter value " + value);
}

vocab::Level level_from(const std::string& value) {
  return choice<vocab::Level>(value, {{"track", vocab::Level::Track}, {"bar", vocab::Level::Bar}});
}

vocab::TrackKind kind_from(const std::string& value) {
  using vocab::TrackKind;
  return choice<TrackKind>(value,
                           {{"melodic", TrackKind::Melodic}, {"drum", TrackKind::Drum}, {"both", TrackKind::Both}});
}

vocab::AttributeControl control_from(const py::tuple& row) {
  const auto name = row[0].cast<std::string>();
  const auto found = std::find_if(vocab::kControls.begin(), vocab::kControls.end(),
                                  [&name](const vocab::ControlInfo& info) { return info.name == name; });
  if (found == vocab::kControls.end()) throw py::value_error("attribute_controls: unknown control " + name);
  using vocab::Mode;
  return {found->control, level_from(row[1].cast<std::string>()), kind_from(row[2].cast<std::string>()),
          choice<Mode>(row[3].cast<std::string>(), {{"", Mode::None}, {"min", Mode::Min}, {"max", Mode::Max}})};
}

vocab::Domain domain_from(const std::pair<std::string, std::int32_t>& row) {
  const auto type = vocab::token_type(row.first);
  if (!type) throw py::value_error("token_domains: unknown token type " + row.first);
  return {*type, row.second};
}

vocab::Settings settings_from(const py::dict& d) {
  vocab::Settings out;
  out.resolution = setting<std::int32_t>(d, "resolution");
  out.decode_resolution = setting<std::int32_t>(d, "decode_resolution");
  out.emit_delta_tokens = setting<bool>(d, "emit_delta_tokens");
  out.signed_deltas = setting<bool>(d, "signed_deltas");
  out.supports_infill = setting<bool>(d, "supports_infill");
  out.placeholder_positions = setting<bool>(d, "placeholder_positions");
  out.supports_mask_bar_token = setting<bool>(d, "supports_mask_bar_token");
  out.velocity_sticky = setting<bool>(d, "velocity_sticky");
  out.switchable_velocity = setting<bool>(d, "switchable_velocity");
  out.switchable_microtiming = setting<bool>(d, "switchable_microtiming");
  std::tie(out.pitch_min, out.pitch_max) = setting<std::pair<std::int32_t, std::int32_t>>(d, "pitch_range");
  out.velocity_levels = setting<std::int32_t>(d, "velocity_levels");
  out.note_duration_max_beats = setting<std::int32_t>(d, "note_duration_max_beats");
  out.num_genres = setting<std::int32_t>(d, "num_genres");
  for (const auto& [numerator, denominator] :
       setting<std::vector<std::pair<std::int32_t, std::int32_t>>>(d, "time_signatures")) {
    out.time_signatures.push_back({numerator, denominator});
  }
  out.instrument_merge_groups = setting<std::vector<std::vector<std::int32_t>>>(d, "instrument_merge_groups");
  out.num_bars_map = setting<std::vector<std::int32_t>>(d, "num_bars_map");
  for (const auto& row : setting<std::vector<py::tuple>>(d, "attribute_controls")) {
    if (row.size() != 4) throw py::value_error("attribute_controls: rows are (name, level, track_type, mode)");
    out.attribute_controls.push_back(control_from(row));
  }
  for (const auto& row : setting<std::vector<std::pair<std::string, std::int32_t>>>(d, "token_domains")) {
    out.token_domains.push_back(domain_from(row));
  }
  for (const auto& row : setting<std::vector<py::tuple>>(d, "external_attributes")) {
    if (row.size() != 4) throw py::value_error("external_attributes: rows are (name, level, track_type, levels)");
    out.external_attributes.push_back({row[0].cast<std::string>(), level_from(row[1].cast<std::string>()),
                                       kind_from(row[2].cast<std::string>()), row[3].cast<std::int32_t>()});
  }
  const auto edges = setting<std::vector<std::vector<std::int32_t>>>(d, "density_edges");
  if (edges.size() != out.density_edges.size()) throw py::value_error("density_edges must have 129 rows");
  for (std::size_t row = 0; row < edges.size(); ++row) {
    if (edges[row].size() != 10) throw py::value_error("density_edges must have rows of 10");
    std::copy(edges[row].begin(), edges[row].end(), out.density_edges[row].begin());
  }
  return out;
}

std::shared_ptr<Codebook> make_codebook(const py::dict& settings) {
  std::string error;
  auto book = Codebook::build(settings_from(settings), error);
  if (!book) throw py::value_error(error);
  return book;
}

py::list token_types() {
  py::list out;
  for (const vocab::TokenTypeInfo& row : vocab::kTokenTypes) {
    out.append(py::make_tuple(vocab::index_of(row.type), row.name, row.legacy_name, row.alias));
  }
  return out;
}

const char* level_name(vocab::Level level) { return level == vocab::Level::Track ? "track" : "bar"; }

const char* kind_name(vocab::TrackKind kind) {
  switch (kind) {
    case vocab::TrackKind::Melodic: return "melodic";
    case vocab::TrackKind::Drum: return "drum";
    case vocab::TrackKind::Both: break;
  }
  return "both";
}

py::list attribute_controls() {
  py::list out;
  for (const vocab::ControlInfo& row : vocab::kControls) {
    py::list levels;  // those that have a token type
    for (const vocab::Level level : {vocab::Level::Track, vocab::Level::Bar}) {
      const vocab::AttributeControl control{row.control, level, row.default_kind,
                                            row.needs_mode ? vocab::Mode::Min : vocab::Mode::None};
      if (!vocab::token_spelling(control).empty()) levels.append(level_name(level));
    }
    out.append(py::dict(py::arg("name") = row.name, py::arg("level") = level_name(row.default_level),
                        py::arg("levels") = levels, py::arg("track_type") = kind_name(row.default_kind),
                        py::arg("needs_mode") = row.needs_mode, py::arg("takes_parameters") = row.takes_parameters,
                        py::arg("size") = row.size));
  }
  return out;
}

py::list domains(const Codebook& book) {
  py::list out;
  for (const vocab::Domain& domain : book.domains()) {
    out.append(py::make_tuple(vocab::canonical_name(domain.type), domain.size));
  }
  return out;
}

py::list attributes(const Codebook& book) {
  py::list out;
  for (std::size_t k = 0; k < book.controls().size(); ++k) {
    const vocab::AttributeControl& control = book.controls()[k];
    const std::string name = book.name_of(k);
    const bool external = control.control == vocab::Control::External;
    out.append(py::make_tuple(name, external ? std::string_view(name) : vocab::token_spelling(control)));
  }
  return out;
}

// What can be asked for, in the order of the K axis.
py::list attribute_infos(const Codebook& book) {
  py::list out;
  for (std::size_t k = 0; k < book.controls().size(); ++k) {
    const vocab::AttributeControl& control = book.controls()[k];
    std::int32_t size = 0;
    for (const auto written : {book.track_attributes(), book.bar_attributes()}) {
      for (const vocab::WrittenAttribute& attribute : written) {
        if (attribute.control == k) size = book.size(attribute.type);
      }
    }
    out.append(py::make_tuple(book.name_of(k), level_name(control.level), size, control.applies_to(false),
                              control.applies_to(true)));
  }
  return out;
}

// A corpus that native code can read; keeps its arrays alive.
class NativeCorpus {
 public:
  NativeCorpus(const py::sequence& shards, const py::array& piece_offsets) {
    piece_offsets_.push_back(0);
    for (const py::handle shard : shards) {
      const ColumnsArgument& columns = arguments_.emplace_back(shard.attr("columns"));
      shards_.push_back(columns.bounded());
      if (shards_.back().columns.resolution < 1) throw py::value_error("resolution must be at least 1");
      piece_offsets_.push_back(piece_offsets_.back() + columns.num_pieces());
    }
    const auto given = piece_offsets.cast<std::vector<std::int64_t>>();
    if (given != piece_offsets_) throw py::value_error("piece_offsets do not fit the shards");
  }

  [[nodiscard]] encode::Corpus view() const { return {shards_, piece_offsets_.data()}; }

 private:
  std::vector<ColumnsArgument> arguments_;
  std::vector<midigpt::score::BoundedColumns> shards_;
  std::vector<std::int64_t> piece_offsets_;
};

encode::Windows windows_from(Fields& f, const Codebook& book) {
  encode::Windows w;
  w.piece = f.array<std::int64_t>("piece", {-1}, &w.count);
  const std::int64_t n = w.count;
  w.tracks = f.array<std::int32_t>("tracks", {n, -1}, &w.max_tracks);
  const std::int64_t t = w.max_tracks;
  w.infill = f.flags("infill", {n, t, -1}, &w.max_bars);
  const std::int64_t b = w.max_bars;
  const auto k = static_cast<std::int64_t>(book.controls().size());
  w.masked = f.flags("masked", {n, t, b});
  w.start_bar = f.array<std::int32_t>("start_bar", {n});
  w.num_bars = f.array<std::int32_t>("num_bars", {n});
  w.window_bars = f.array<std::int32_t>("window_bars", {n});
  w.transpose = f.array<std::int32_t>("transpose", {n});
  w.velocity_scale = f.array<double>("velocity_scale", {n});
  w.genre = f.array<std::int32_t>("genre", {n});
  w.use_velocity = f.array<std::int8_t>("use_velocity", {n});
  w.use_microtiming = f.array<std::int8_t>("use_microtiming", {n});
  w.partial_track = f.array<std::int32_t>("partial_track", {n});
  w.partial_bars = f.array<std::int32_t>("partial_bars", {n});
  w.masked_as = f.array<std::uint8_t>("masked_as", {n});
  w.attributes_kept = f.optional_flags("attributes_kept", {n, k});
  w.attribute_values = f.optional_array<std::int16_t>("attribute_values", {n, t, 1 + b, k});
  w.compute_attributes = f.get("compute_attributes").cast<bool>();
  return w;
}

// Position, token, offset, role, status and masked span arrays of consecutive Documents (records.TokenBatch). Positions
// are None where they count the tokens.
py::tuple token_arrays(const Codebook& book, const std::vector<encode::Documents>& parts) {
  std::size_t tokens = 0;
  std::size_t documents = 0;
  std::size_t spans = 0;
  for (const encode::Documents& part : parts) {
    tokens += part.tokens.size();
    documents += part.status.size();
    spans += part.masked_spans.size();
  }
  py::array_t<std::int32_t> token_array(static_cast<py::ssize_t>(tokens));
  py::array_t<std::int64_t> offset_array(static_cast<py::ssize_t>(documents + 1));
  py::array_t<std::uint8_t> role_array(static_cast<py::ssize_t>(tokens));
  py::array_t<std::uint8_t> status_array(static_cast<py::ssize_t>(documents));
  py::array_t<std::int64_t> span_array({static_cast<py::ssize_t>(spans), py::ssize_t{3}});
  std::int32_t* token = token_array.mutable_data();
  std::int64_t* offset = offset_array.mutable_data();
  std::uint8_t* role = role_array.mutable_data();
  std::uint8_t* status = status_array.mutable_data();
  std::int64_t* span = span_array.mutable_data();

  py::object positions = py::none();
  std::int32_t* position = nullptr;
  if (book.settings().placeholder_positions) {
    py::array_t<std::int32_t> position_array(static_cast<py::ssize_t>(tokens));
    position = position_array.mutable_data();
    positions = std::move(position_array);
  }

  std::int64_t base = 0;
  *offset++ = 0;
  for (const encode::Documents& part : parts) {
    if (position != nullptr) position = std::copy_n(part.positions.data(), part.positions.size(), position);
    token = std::copy_n(part.tokens.data(), part.tokens.size(), token);
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < part.ends.size(); ++i) {
      const std::int64_t context = part.first_target[i];
      role = std::fill_n(role, context, std::uint8_t{0});
      role = std::fill_n(role, part.ends[i] - begin - context, std::uint8_t{1});
      begin = part.ends[i];
      *offset++ = base + begin;
      *status++ = static_cast<std::uint8_t>(part.status[i]);
    }
    base += begin;
    for (const encode::MaskedSpan& masked : part.masked_spans) {
      *span++ = masked.document;
      *span++ = masked.begin;
      *span++ = masked.end;
    }
  }
  return py::make_tuple(token_array, offset_array, role_array, status_array, span_array, positions);
}

py::tuple encode_batch(const Codebook& book, const NativeCorpus& corpus, const py::object& windows,
                       const py::object& max_tokens, int threads) {
  Fields fields(windows, Fields::Keep::Copies);
  const encode::Windows view = windows_from(fields, book);
  const std::int32_t* limits = fields.check<std::int32_t>("max_tokens", max_tokens, {view.count});
  std::vector<encode::Documents> parts;
  encode::RequestError error;
  {
    const py::gil_scoped_release released;
    error = encode::encode_batch(book, corpus.view(), view, limits, std::clamp(threads, 1, kMaxThreads), parts);
  }
  if (error) throw py::value_error(error.message);
  return token_arrays(book, parts);
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::dict window_notes(const Codebook& book, const NativeCorpus& corpus, const py::object& windows) {
  Fields fields(windows, Fields::Keep::Copies);
  const encode::Windows view = windows_from(fields, book);
  encode::WindowNotes notes;
  encode::RequestError error;
  {
    const py::gil_scoped_release released;
    error = encode::collect_notes(book, corpus.view(), view, notes);
  }
  if (error) throw py::value_error(error.message);
  return py::dict(py::arg("cell_ends") = to_array(notes.cell_ends), py::arg("onset") = to_array(notes.onset),
                  py::arg("duration") = to_array(notes.duration), py::arg("pitch") = to_array(notes.pitch),
                  py::arg("velocity") = to_array(notes.velocity), py::arg("num_bars") = to_array(notes.num_bars),
                  py::arg("program") = to_array(notes.program), py::arg("drum") = to_array(notes.drum),
                  py::arg("numerator") = to_array(notes.numerator),
                  py::arg("denominator") = to_array(notes.denominator));
}

py::array_t<std::int16_t> compute_attributes(const Codebook& book, const NativeCorpus& corpus,
                                             const py::object& windows) {
  Fields fields(windows, Fields::Keep::Copies);
  const encode::Windows view = windows_from(fields, book);
  py::array_t<std::int16_t> out(std::vector<py::ssize_t>{view.count, view.max_tracks, 1 + view.max_bars,
                                                         static_cast<py::ssize_t>(book.controls().size())});
  encode::RequestError error;
  {
    std::int16_t* data = out.mutable_data();
    const py::gil_scoped_release released;
    error = encode::compute_attributes(book, corpus.view(), view, data);
  }
  if (error) throw py::value_error(error.message);
  return out;
}

// The ids of one document: a copy, which another thread cannot change.
std::vector<std::int32_t> document_of(const py::array_t<std::int32_t, py::array::c_style>& tokens) {
  if (tokens.ndim() != 1 || tokens.size() > kMaxDocument) {
    throw py::value_error("tokens must be one sequence of at most " + std::to_string(kMaxDocument));
  }
  return {tokens.data(), tokens.data() + tokens.size()};
}

py::array_t<std::int32_t> positions_of(const Codebook& book,
                                       const py::array_t<std::int32_t, py::array::c_style>& tokens) {
  std::vector<std::int32_t> ids = document_of(tokens);
  std::int64_t foreign = -1;
  {
    const py::gil_scoped_release released;
    vocab::DocumentPositions positions(book);
    for (std::size_t i = 0; i < ids.size() && foreign < 0; ++i) {
      if (ids[i] < 0 || ids[i] >= book.vocab_size()) {
        foreign = static_cast<std::int64_t>(i);
      } else {
        ids[i] = positions.next(ids[i]);
      }
    }
  }
  if (foreign >= 0) throw py::value_error("token " + std::to_string(foreign) + " is outside the vocabulary");
  return to_array(ids);
}

py::tuple decode_tokens(const Codebook& book, const py::array_t<std::int32_t, py::array::c_style>& tokens,
                        bool resample) {
  const std::vector<std::int32_t> ids = document_of(tokens);
  decode::DecodeResult result;
  {
    const py::gil_scoped_release released;
    result = decode::decode(book, ids, resample);
  }
  if (!result.error.empty()) throw py::value_error(result.error);
  const decode::DecodedScore& score = result.score;
  py::dict columns;
  columns["resolution"] = score.resolution;
  midigpt::score::for_each_column(score,
                                  [&](auto column, const auto& values) { columns[column.name] = to_array(values); });
  py::list attributes;
  for (const auto& track : score.track_attributes) {
    py::dict values;
    for (const auto& [name, value] : track) values[py::str(name)] = value;
    attributes.append(values);
  }
  return py::make_tuple(columns, attributes);
}

}  // namespace

PYBIND11_MODULE(_encoder, m) {
  m.doc() = "Tokens from columns and back.";
  // The number of the token type of the first attribute control of a plugin.
  m.attr("FIRST_EXTERNAL") = vocab::kFirstExternal;
  m.def("token_types", &token_types, "(number, canonical name, upper-case name or '', alias or '') of every type.");
  m.def("attribute_controls", &attribute_controls, "What each attribute control is called and takes.");
  py::class_<Codebook, std::shared_ptr<Codebook>>(m, "Codebook")
      .def(py::init(&make_codebook), py::arg("settings"))
      .def_property_readonly("vocab_size", &Codebook::vocab_size)
      .def_property_readonly("domains", &domains, "(canonical type, size), in the order of their ids.")
      .def_property_readonly("attributes", &attributes, "(name, token type as its control spells it), the K axis.")
      .def_property_readonly("attribute_infos", &attribute_infos,
                             "(name, level, size of its token or 0, on melodic tracks, on drum tracks), the K axis.");
  py::class_<NativeCorpus>(m, "Corpus")
      .def(py::init<const py::sequence&, const py::array&>(), py::arg("shards"), py::arg("piece_offsets"));
  m.def("encode_batch", &encode_batch, py::arg("codebook"), py::arg("corpus"), py::arg("windows"),
        py::arg("max_tokens"), py::arg("threads"),
        "Tokens int32, offsets int64, role uint8, status uint8, masked spans int64[S, 3] and positions int32, or None, "
        "of a WindowBatch.");
  m.def("positions", &positions_of, py::arg("codebook"), py::arg("tokens"), "The positions int32[L] of a document.");
  m.def("compute_attributes", &compute_attributes, py::arg("codebook"), py::arg("corpus"), py::arg("windows"),
        "Attribute values int16[N, T, 1 + B, K] of a WindowBatch, -1 where a control says nothing.");
  m.def("window_notes", &window_notes, py::arg("codebook"), py::arg("corpus"), py::arg("windows"),
        "The notes of a WindowBatch by window, track, bar, onset and pitch, as flat arrays.");
  m.def("decode", &decode_tokens, py::arg("codebook"), py::arg("tokens"), py::arg("resample"),
        "Columns of one piece and the attributes of each track.");
  midigpt::bindings::bind_grammar(m);
}
