#include "score/columns.h"

namespace midigpt::score {

namespace {

// Ends that run from 0 to at most `limit` without a step back.
bool ends_ascend(const std::int32_t* ends, std::int64_t count, std::int64_t limit) {
  std::int32_t previous = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (ends[i] < previous) return false;
    previous = ends[i];
  }
  return previous <= limit;
}

}  // namespace

bool BoundedColumns::is_sound(const PieceView& piece) const {
  if (!piece.tracks().is_inside({0, num_tracks}) || !piece.bars().is_inside({0, num_bars}) ||
      !piece.cells().is_inside({0, num_cells}) || !piece.notes().is_inside({0, num_notes})) {
    return false;
  }
  const std::int64_t first = piece.tracks().begin;
  return ends_ascend(columns.track_cell_end + first, piece.num_tracks(), piece.cells().size()) &&
         (columns.track_bar_end == nullptr ||
          ends_ascend(columns.track_bar_end + first, piece.num_tracks(), piece.bars().size()));
}

}  // namespace midigpt::score
