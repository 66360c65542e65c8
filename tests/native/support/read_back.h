// A MIDI file as the reader reads it.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "score/read_batch.h"
#include "support/midi_bytes.h"

namespace midigpt::tests {

// The columns of a file that must be readable.
inline score::ColumnStore read_back(const Bytes& file) {
  const std::vector<std::int64_t> offsets{0, static_cast<std::int64_t>(file.size())};
  score::BatchResult result = score::read_batch(file, offsets, 1);
  REQUIRE(result.status[0] == 0);
  return std::move(result.columns);
}

}  // namespace midigpt::tests
