// The core's native module: reading and writing MIDI, drawing windows, packing.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/buffer.h"
#include "bindings/mapped_file.h"
#include "bindings/score_argument.h"
#include "midi/errors.h"
#include "score/read_batch.h"
#include "score/splice_midi.h"
#include "score/write_midi.h"

namespace py = pybind11;
using midigpt::bindings::Array;
using midigpt::bindings::Buffer;

void bind_token_grammar(py::module_& module);
void bind_token_sampler(py::module_& module);
void bind_sample(py::module_& module);

namespace {

void check_offsets(std::span<const std::int64_t> offsets, std::size_t num_bytes) {
  if (offsets.empty()) throw py::value_error("offsets must hold one value more than there are files");
  std::int64_t before = 0;
  for (const std::int64_t offset : offsets) {
    if (offset < before) throw py::value_error("offsets must not be negative or descend");
    before = offset;
  }
  if (static_cast<std::size_t>(before) > num_bytes) throw py::value_error("offsets point beyond the data");
}

py::dict to_buffers(midigpt::score::BatchResult&& result) {
  namespace score = midigpt::score;
  py::dict buffers;
  score::for_each_column(result.columns, [&](auto column, auto& array) {
    if (!column.may_be_missing()) buffers[column.name] = Buffer::of(std::move(array));
  });
  buffers["status"] = Buffer::of(std::move(result.status));
  buffers["error_offset"] = Buffer::of(std::move(result.error_offset));
  return buffers;
}

py::dict read_batch(const py::buffer& data, const py::buffer& offsets, int threads) {
  const Array<std::uint8_t> bytes(data, "data");
  const std::vector<std::int64_t> starts = Array<std::int64_t>(offsets, "offsets").copy();
  check_offsets(starts, bytes.span().size());
  if (threads < 1) throw py::value_error("threads must be at least 1");
  midigpt::score::BatchResult result;
  {
    const py::gil_scoped_release release;
    result = midigpt::score::read_batch(bytes.span(), starts, threads);
  }
  return to_buffers(std::move(result));
}

py::bytes write_midi(const py::object& columns) {
  const midigpt::bindings::ScoreArgument score(columns);
  std::vector<std::uint8_t> bytes;
  const char* problem = nullptr;
  {
    const py::gil_scoped_release release;
    problem = midigpt::score::write_midi(score.columns(), bytes);
  }
  if (problem != nullptr) throw py::value_error(problem);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Every column of an edit, checked so that native code can follow it.
class EditArgument {
 public:
  explicit EditArgument(const py::object& record) : fields_(record, midigpt::bindings::Fields::Keep::Copies) {
    edit.removed = take<std::uint8_t>("removed");
    edit.track = take<std::int32_t>("track");
    edit.bar = take<std::int32_t>("bar");
    edit.onset = take<std::int32_t>("onset");
    edit.duration = take<std::int32_t>("duration");
    edit.pitch = take<std::uint8_t>("pitch");
    edit.velocity = take<std::uint8_t>("velocity");
    edit.microtiming = take<std::int32_t>("microtiming");
    edit.new_program = take<std::uint8_t>("new_program");
    edit.new_drum = take<std::uint8_t>("new_drum");
    edit.numerator = take<std::int32_t>("numerator");
    edit.denominator = take<std::int32_t>("denominator");
    edit.tempo = fields_.get("tempo").cast<std::int32_t>();
    const std::size_t notes = edit.track.size();
    for (const std::size_t size : {edit.bar.size(), edit.onset.size(), edit.duration.size(), edit.pitch.size(),
                                   edit.velocity.size(), edit.microtiming.size()}) {
      if (size != notes) throw py::value_error("the columns of added notes differ in length");
    }
    if (edit.new_drum.size() != edit.new_program.size() || edit.denominator.size() != edit.numerator.size()) {
      throw py::value_error("the columns of added tracks, or of bars, differ in length");
    }
    for (const std::uint8_t program : edit.new_program) check(program < 128, "new_program is not within 0..127");
    for (const std::int32_t denominator : edit.denominator) check(denominator > 0, "a denominator is not above 0");
    for (std::size_t i = 0; i < notes; ++i) {
      check(edit.track[i] >= 0, "a note has no track");
      check(edit.bar[i] >= 0 && static_cast<std::size_t>(edit.bar[i]) < edit.numerator.size(), "a note has no bar");
      check(edit.onset[i] >= 0 && edit.duration[i] >= 0, "an onset or duration is negative");
      check(edit.pitch[i] < 128 && edit.velocity[i] < 128, "a pitch or velocity is not within 0..127");
    }
  }

  midigpt::score::Edit edit;

 private:
  template <class T>
  std::span<const T> take(const char* name) {
    std::int64_t length = 0;
    const T* const values = fields_.array<T>(name, {-1}, &length);
    return {values, static_cast<std::size_t>(length)};
  }

  static void check(bool good, const char* problem) {
    if (!good) throw py::value_error(problem);
  }

  midigpt::bindings::Fields fields_;
};

py::tuple splice_midi(const py::buffer& content, const py::object& record) {
  const Array<std::uint8_t> bytes(content, "content");
  const EditArgument argument(record);
  midigpt::score::Spliced spliced;
  const char* problem = nullptr;
  {
    const py::gil_scoped_release release;
    problem = midigpt::score::splice_midi(bytes.span(), argument.edit, spliced);
  }
  if (problem != nullptr) throw py::value_error(problem);
  return py::make_tuple(py::bytes(reinterpret_cast<const char*>(spliced.bytes.data()), spliced.bytes.size()),
                        spliced.beyond_bar, spliced.after_unclosed, spliced.became_format_1,
                        py::cast(spliced.tracks_on_ports));
}

// (level, type, name, whether it may be None) of every column.
py::list score_columns() {
  namespace score = midigpt::score;
  constexpr std::array kLevelNames{"offsets", "piece", "track", "bar", "cell", "note"};
  static_assert(kLevelNames.size() == score::kLevels);
  py::list columns;
  const score::Columns none;
  score::for_each_column(none, [&](auto column, auto*) {
    using Value = typename decltype(column)::Value;
    columns.append(py::make_tuple(kLevelNames.at(score::index_of(column.kLevel)), midigpt::bindings::type_name<Value>(),
                                  column.name, column.may_be_missing()));
  });
  return columns;
}

py::list read_errors() {
  py::list errors;
  for (const auto& [code, name, meaning] : midigpt::midi::kReadErrors) {
    errors.append(py::make_tuple(static_cast<int>(code), name, meaning));
  }
  return errors;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "Reading MIDI files into columns, and sampling windows from them.";
  py::class_<Buffer>(module, "Buffer", py::buffer_protocol(), "A read-only array with the buffer protocol.")
      .def_buffer(&Buffer::info)
      .def("__len__", &Buffer::size);
  py::class_<midigpt::bindings::Memory>(module, "Memory", py::buffer_protocol(),
                                        "Uninitialised bytes with the buffer protocol, from memory that is used again.")
      .def(py::init<std::size_t>(), py::arg("size"))
      .def_buffer(&midigpt::bindings::Memory::info);
  py::class_<midigpt::bindings::MappedFile>(module, "MappedFile", py::buffer_protocol(),
                                            "A file's bytes, read-only, mapped into memory.")
      .def(py::init<int>(), py::arg("descriptor"))
      .def_property_readonly("lost", &midigpt::bindings::MappedFile::lost,
                             "Whether a read found zeros because the file was cut off or cannot be read any more.")
      .def_buffer(&midigpt::bindings::MappedFile::info);
  module.def(
      "mapped_losses", [] { return midigpt::bindings::losses().load(); },
      "How often a read of a mapped file of this process found that it had lost its bytes.");
  module.def("read_batch", &read_batch, py::arg("data"), py::arg("offsets"), py::arg("threads") = 1,
             "Columns of n MIDI files, data[offsets[i]:offsets[i + 1]] each: buffers by column name, and `status` and\n"
             "`error_offset` per file.");
  module.def("score_columns", &score_columns,
             "(level, type as NumPy calls it, name, whether it may be None) of every score column, in their order.");
  module.def("read_errors", &read_errors, "(code, name, meaning) of every value of `status`.");
  module.def("write_midi", &write_midi, py::arg("columns"),
             "The standard MIDI file of one piece. Raises ValueError saying what it cannot express.");
  module.def("splice_midi", &splice_midi, py::arg("content"), py::arg("edit"),
             "A MIDI file with notes replaced: (bytes, notes beyond a bar cut short, notes after one that is never\n"
             "closed, whether it became format 1, added tracks on a port of their own). Raises ValueError.");
  bind_token_grammar(module);
  bind_token_sampler(module);
  bind_sample(module);
}
