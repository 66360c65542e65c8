// Notes of a file's tracks into bars at the resolution of the score.
#pragma once

#include "midi/reader.h"
#include "score/bar_grid.h"
#include "score/column_store.h"

namespace midigpt::score {

// Append the file as one piece.
void place_notes(const midi::File& file, const BarGrid& grid, ColumnStore& store);

}  // namespace midigpt::score
