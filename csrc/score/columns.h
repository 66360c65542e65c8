// The columns of many pieces as raw pointers: Python's records.ScoreColumns, without Python.
//
// Inside a piece, runs are given by their ends relative to the piece's own run (see records.py); a PieceView resolves
// them. Nothing here owns memory.
#pragma once

#include <cstdint>

#include "score/column_table.h"

namespace midigpt::score {

template <class T>
using Pointer = const T*;

struct Columns : ColumnSet<Pointer> {
  std::int32_t resolution = 480;  // ticks per quarter note
  std::int64_t num_pieces = 0;
};

// A half-open run of indices.
struct Run {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
  [[nodiscard]] bool is_inside(Run outer) const { return outer.begin <= begin && begin <= end && end <= outer.end; }
};

// One piece of Columns. All returned indices are absolute positions in the columns. Its own runs are looked up once:
// who checks them follows what was checked, also where another thread or process writes to the columns meanwhile.
class PieceView {
 public:
  PieceView(const Columns& columns, std::int64_t piece)
      : c_(&columns),
        tracks_(run(columns.track_offsets, piece)),
        bars_(run(columns.bar_offsets, piece)),
        cells_(run(columns.cell_offsets, piece)),
        notes_(run(columns.note_offsets, piece)) {}

  [[nodiscard]] const Columns& columns() const { return *c_; }
  [[nodiscard]] Run tracks() const { return tracks_; }
  [[nodiscard]] Run bars() const { return bars_; }
  [[nodiscard]] Run cells() const { return cells_; }
  [[nodiscard]] Run notes() const { return notes_; }
  [[nodiscard]] std::int64_t num_tracks() const { return tracks_.size(); }
  [[nodiscard]] std::int64_t track_index(std::int64_t track) const { return tracks_.begin + track; }

  // Bars of a track; for shared bars the same run for every track.
  [[nodiscard]] Run bars(std::int64_t track) const {
    return c_->track_bar_end == nullptr ? bars_ : sub_run(bars_.begin, c_->track_bar_end, track);
  }
  // Non-empty (track, bar) cells of a track, ascending by bar.
  [[nodiscard]] Run cells(std::int64_t track) const { return sub_run(cells_.begin, c_->track_cell_end, track); }
  // Notes of one cell, given by its absolute index.
  [[nodiscard]] Run notes(std::int64_t cell) const {
    const std::int64_t start = cell == cells_.begin ? 0 : c_->cell_note_end[cell - 1];
    return {notes_.begin + start, notes_.begin + c_->cell_note_end[cell]};
  }

 private:
  // Empty without offsets.
  static Run run(const std::int64_t* offsets, std::int64_t piece) {
    return offsets == nullptr ? Run{} : Run{offsets[piece], offsets[piece + 1]};
  }
  [[nodiscard]] Run sub_run(std::int64_t first, const std::int32_t* ends, std::int64_t track) const {
    const std::int64_t index = track_index(track);
    const std::int64_t start = track == 0 ? 0 : ends[index - 1];
    return {first + start, first + ends[index]};
  }

  const Columns* c_;
  Run tracks_;
  Run bars_;
  Run cells_;
  Run notes_;
};

// Columns and how long they are, so that no index found in them is followed blindly.
struct BoundedColumns {
  Columns columns;
  std::int64_t num_tracks = 0;
  std::int64_t num_bars = 0;
  std::int64_t num_cells = 0;
  std::int64_t num_notes = 0;

  // Whether every run of the piece lies within the columns, and the runs of its tracks follow one another within it.
  // Columns may change after that: check again where a run of a track or a cell is followed.
  [[nodiscard]] bool is_sound(const PieceView& piece) const;
};

}  // namespace midigpt::score
