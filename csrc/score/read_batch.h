// Many MIDI files into columns, on one or more threads.
#pragma once

#include <cstdint>
#include <span>

#include "score/column_store.h"

namespace midigpt::score {

struct BatchResult {
  ColumnStore columns;
  midi::GrowingArray<std::uint8_t> status;        // midi::ReadError per file
  midi::GrowingArray<std::int64_t> error_offset;  // byte within the file, midi::kNoOffset where there is none
};

// File i is data[offsets[i], offsets[i + 1]); the offsets ascend within `data`. A file that cannot be read becomes a
// piece without tracks, bars and notes. The result is the same for any number of threads.
// Throws std::bad_alloc only.
BatchResult read_batch(std::span<const std::uint8_t> data, std::span<const std::int64_t> offsets, int threads);

}  // namespace midigpt::score
