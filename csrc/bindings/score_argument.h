// A score that comes from Python: the columns of one piece, checked so that native code can follow every run.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "bindings/columns_argument.h"
#include "score/columns.h"

namespace midigpt::bindings {

class ScoreArgument {
 public:
  // Takes a midigpt_core.records.ScoreColumns. Throws TypeError or ValueError naming the column that does not fit.
  explicit ScoreArgument(const pybind11::object& record)
      : argument_(record, Fields::Keep::Copies), columns_(argument_.bounded().columns) {
    const score::BoundedColumns& bounded = argument_.bounded();
    if (bounded.columns.num_pieces != 1) throw pybind11::value_error("the columns must be those of one piece");
    check_ends("track_cell_end", columns_.track_cell_end, bounded.num_tracks, bounded.num_cells);
    check_ends("cell_note_end", columns_.cell_note_end, bounded.num_cells, bounded.num_notes);
    if (columns_.track_bar_end != nullptr) {
      check_ends("track_bar_end", columns_.track_bar_end, bounded.num_tracks, bounded.num_bars);
    }
    check_bars(bounded.num_bars);
    check_notes(bounded.num_notes);
    check_cells(bounded.num_tracks);
  }

  [[nodiscard]] const score::Columns& columns() const { return columns_; }

 private:
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

  ColumnsArgument argument_;
  const score::Columns& columns_;
};

}  // namespace midigpt::bindings
