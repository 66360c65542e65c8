// Columns that own their values.
#pragma once

#include <cstdint>
#include <vector>

#include "score/columns.h"

namespace midigpt::score {

// Pieces that are put together one after another: first the values of one, then end_piece.
template <template <class> class Array>
struct GrowingColumns : ColumnSet<Array> {
  GrowingColumns() { begin(); }

  void clear() {
    for_each_column(*this, [](auto, auto& array) { array.clear(); });
    begin();
  }

  void end_piece(std::int32_t piece_tempo) {
    this->tempo.push_back(piece_tempo);
    this->track_offsets.push_back(static_cast<std::int64_t>(this->track_program.size()));
    this->bar_offsets.push_back(static_cast<std::int64_t>(this->bar_length.size()));
    this->cell_offsets.push_back(static_cast<std::int64_t>(this->cell_bar.size()));
    this->note_offsets.push_back(static_cast<std::int64_t>(this->note_pitch.size()));
  }

  void shrink_to_fit() {
    for_each_column(*this, [](auto, auto& array) { array.shrink_to_fit(); });
  }

  // Pointers into the arrays, and their lengths. Without bars_per_track, track_bar_end counts for nothing.
  [[nodiscard]] BoundedColumns bounded(std::int32_t resolution, bool bars_per_track) const {
    BoundedColumns out;
    for_each_column(*this, out.columns, [](auto, const auto& array, auto*& pointer) { pointer = array.data(); });
    if (!bars_per_track) out.columns.track_bar_end = nullptr;
    out.columns.resolution = resolution;
    out.columns.num_pieces = static_cast<std::int64_t>(this->tempo.size());
    out.num_tracks = static_cast<std::int64_t>(this->track_program.size());
    out.num_bars = static_cast<std::int64_t>(this->bar_length.size());
    out.num_cells = static_cast<std::int64_t>(this->cell_bar.size());
    out.num_notes = static_cast<std::int64_t>(this->note_pitch.size());
    return out;
  }

 private:
  void begin() {
    for_each_column(*this, [](auto column, auto& array) {
      if constexpr (decltype(column)::kLevel == Level::Offsets) array.push_back(0);
    });
  }
};

template <class T>
using Vector = std::vector<T>;

// What a few pieces need.
struct OwnedColumns : GrowingColumns<Vector> {
  std::int32_t resolution = 480;
  bool bars_per_track = false;

  // Valid until the columns change or move.
  [[nodiscard]] BoundedColumns bounded() const { return GrowingColumns::bounded(resolution, bars_per_track); }
};

}  // namespace midigpt::score
