// Scores to standard MIDI files (format 1, one chunk per track).
#pragma once

#include <cstdint>
#include <vector>

#include "score/columns.h"

namespace midigpt::score {

// Append piece 0 of `columns` to `out` as a file. Its runs must lie within the columns and its cells within their bars.
// Returns nullptr, or what about the score a MIDI file cannot say.
//
// Microtiming is left out: positions are onsets. A note of velocity 0 is written as such, and readers take it for the
// end of a note.
const char* write_midi(const Columns& columns, std::vector<std::uint8_t>& out);

}  // namespace midigpt::score
