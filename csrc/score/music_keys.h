// What a piece sounds like apart from key, tempo, loudness, instruments and the order of its tracks, as hashes: see
// midigpt_core/score/similarity.py, which says what they are for.
//
// Hashes are sums of well mixed 64-bit integers: a sum does not depend on the order of its terms, so notes and tracks
// need not be sorted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "score/columns.h"

namespace midigpt::score {

inline constexpr std::size_t kSketchSize = 32;

struct MusicKeys {
  // Equal for pieces with the same notes at the same places, transposed as a whole or not; 0 without notes.
  std::uint64_t exact = 0;
  // One permutation hashing: a bar of a track falls into the bin that the first bits of its hash name, and each bin
  // keeps its least. A bin without a bar takes the value of the next one that has one, changed by the distance. All
  // bits set: the piece has no notes.
  std::array<std::uint32_t, kSketchSize> sketch{};
  // Different bars of tracks, each transposed so that its lowest pitch is 0.
  std::int64_t bars = 0;
};

// How many of the hashes are different. May sort them; `table` is scratch memory.
[[nodiscard]] std::int64_t count_different(std::vector<std::uint64_t>& hashes, std::vector<std::uint64_t>& table);

// Computes keys. Keeps its scratch memory between calls, so one finder serves one thread.
class MusicKeyFinder {
 public:
  // Whether the piece is sound, as BoundedColumns::is_sound says, down to its notes. Else `keys` mean nothing.
  [[nodiscard]] bool find(const BoundedColumns& bounded, const PieceView& piece, MusicKeys& keys);

 private:
  // A bar of a track that has notes.
  struct Cell {
    std::uint64_t hash;
    std::int32_t bar;
    std::uint8_t low;
  };

  std::vector<Cell> cells_;  // track after track
  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint64_t> table_;
};

}  // namespace midigpt::score
