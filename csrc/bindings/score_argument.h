// A score that comes from Python: the columns of one piece, checked so that native code can follow every run.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings/buffer.h"
#include "score/columns.h"

namespace midigpt::bindings {

class ScoreArgument {
 public:
  // Takes a midigpt_core.records.ScoreColumns. Throws TypeError or ValueError naming the column that does not fit.
  explicit ScoreArgument(const pybind11::handle& record) {
    columns_.resolution = record.attr("resolution").cast<std::int32_t>();
    columns_.num_pieces = 1;
    const std::int64_t tracks = count(record, "track_offsets", columns_.track_offsets);
    const std::int64_t bars = count(record, "bar_offsets", columns_.bar_offsets);
    const std::int64_t cells = count(record, "cell_offsets", columns_.cell_offsets);
    const std::int64_t notes = count(record, "note_offsets", columns_.note_offsets);
    take(record, "tempo", columns_.tempo, 1);
    take(record, "track_program", columns_.track_program, tracks);
    take(record, "track_drum", columns_.track_drum, tracks);
    take(record, "track_cell_end", columns_.track_cell_end, tracks);
    take(record, "bar_numerator", columns_.bar_numerator, bars);
    take(record, "bar_denominator", columns_.bar_denominator, bars);
    take(record, "bar_length", columns_.bar_length, bars);
    take(record, "cell_bar", columns_.cell_bar, cells);
    take(record, "cell_note_end", columns_.cell_note_end, cells);
    take(record, "note_onset", columns_.note_onset, notes);
    take(record, "note_duration", columns_.note_duration, notes);
    take(record, "note_pitch", columns_.note_pitch, notes);
    take(record, "note_velocity", columns_.note_velocity, notes);
    check_ends("track_cell_end", columns_.track_cell_end, tracks, cells);
    check_ends("cell_note_end", columns_.cell_note_end, cells, notes);
    if (!record.attr("track_bar_end").is_none()) {
      take(record, "track_bar_end", columns_.track_bar_end, tracks);
      check_ends("track_bar_end", columns_.track_bar_end, tracks, bars);
    }
    check_bars(bars);
    check_notes(notes);
    check_cells(tracks);
  }

  [[nodiscard]] const score::Columns& columns() const { return columns_; }

 private:
  template <class T>
  std::int64_t take(const pybind11::handle& record, const char* name, const T*& column, std::int64_t size) {
    const pybind11::buffer_info buffer = record.attr(name).cast<pybind11::buffer>().request();
    const std::span<const T> values = view<T>(buffer, name);
    if (static_cast<std::int64_t>(values.size()) != size) {
      throw pybind11::value_error(std::string(name) + " has another length than the offsets say");
    }
    auto copy = std::make_shared<std::vector<T>>(values.begin(), values.end());
    column = copy->data();
    copies_.push_back(std::move(copy));
    return size;
  }

  std::int64_t count(const pybind11::handle& record, const char* name, const std::int64_t*& offsets) {
    take(record, name, offsets, 2);
    if (offsets[0] != 0 || offsets[1] < 0) throw pybind11::value_error(std::string(name) + " must start at 0");
    return offsets[1];
  }

  static void check_ends(const char* name, const std::int32_t* ends, std::int64_t size, std::int64_t limit) {
    std::int64_t before = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      if (ends[i] < before) throw pybind11::value_error(std::string(name) + " must ascend from 0");
      before = ends[i];
    }
    if (before != limit) throw pybind11::value_error(std::string(name) + " must end with the column it counts");
  }

  void check_bars(std::int64_t bars) const {
    constexpr double kLongest = 1e6;  // so that sums of ticks stay far from overflow
    for (std::int64_t bar = 0; bar < bars; ++bar) {
      if (!(columns_.bar_length[bar] >= 0 && columns_.bar_length[bar] <= kLongest)) {
        throw pybind11::value_error("bar_length must be within 0..1000000 quarter notes");
      }
    }
  }

  void check_notes(std::int64_t notes) const {
    for (std::int64_t note = 0; note < notes; ++note) {
      if (columns_.note_onset[note] < 0 || columns_.note_duration[note] < 0) {
        throw pybind11::value_error("note_onset and note_duration must not be negative");
      }
      if (columns_.note_pitch[note] > 127 || columns_.note_velocity[note] > 127) {
        throw pybind11::value_error("note_pitch and note_velocity must be within 0..127");
      }
    }
  }

  void check_cells(std::int64_t tracks) const {
    const score::PieceView piece(columns_, 0);
    for (std::int64_t track = 0; track < tracks; ++track) {
      if (columns_.track_program[track] > 127) throw pybind11::value_error("track_program must be within 0..127");
      const score::Run cells = piece.cells(track);
      for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
        if (columns_.cell_bar[cell] < 0 || columns_.cell_bar[cell] >= piece.bars(track).size()) {
          throw pybind11::value_error("cell_bar must name a bar of its track");
        }
      }
    }
  }

  // Another thread may change what Python holds between a check and its use.
  std::vector<std::shared_ptr<const void>> copies_;
  score::Columns columns_;
};

}  // namespace midigpt::bindings
