#include "score/music_keys.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace midigpt::score {

namespace {

constexpr std::uint32_t kEmpty = std::numeric_limits<std::uint32_t>::max();
constexpr int kSketchBits = 5;
static_assert(std::size_t{1} << kSketchBits == kSketchSize);
// Where a piece without melodic tracks counts heights from. No height is counted then.
constexpr std::uint8_t kHighest = 127;
// A half-full table takes half a step on average.
constexpr std::size_t kStepsPerBar = 16;

// The finaliser of splitmix64: every bit of the result depends on every bit of the value.
std::uint64_t mixed(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15U;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

std::uint64_t joined(std::int32_t high, std::int64_t low) {
  return (static_cast<std::uint64_t>(high) << 32) | static_cast<std::uint64_t>(low);
}

std::uint64_t sum_of_notes(const Columns& columns, Run notes, std::uint8_t low) {
  std::uint64_t sum = 0;
  for (std::int64_t note = notes.begin; note < notes.end; ++note) {
    const std::uint64_t place = mixed(joined(columns.note_onset[note], columns.note_duration[note]));
    sum += mixed(place + static_cast<std::uint64_t>(std::int64_t{columns.note_pitch[note]} - low));
  }
  return sum;
}

// Bins without a bar borrow from the next one that has one: two pieces with the same bars still have equal values.
void fill_empty(std::array<std::uint32_t, kSketchSize>& sketch) {
  const auto own = sketch;
  for (std::size_t bin = 0; bin < kSketchSize; ++bin) {
    std::uint32_t distance = 0;
    while (distance < kSketchSize && own[(bin + distance) % kSketchSize] == kEmpty) ++distance;
    if (distance == 0 || distance == kSketchSize) continue;
    sketch[bin] = own[(bin + distance) % kSketchSize] + distance * (distance + 2);
  }
}

}  // namespace

// A hash table takes half of the time that sorting takes. The hashes are well mixed, so their first bits are the place.
std::int64_t count_different(std::vector<std::uint64_t>& hashes, std::vector<std::uint64_t>& table) {
  // At most half full, and at least two places.
  const std::size_t places = std::bit_ceil(2 * hashes.size() + 2);
  const int shift = 64 - std::countr_zero(places);
  // 0 is a free place. The hash 0 is counted apart.
  table.assign(places, 0);
  std::int64_t different = 0;
  bool zero = false;
  std::size_t steps = 0;
  for (const std::uint64_t hash : hashes) {
    if (hash == 0) {
      zero = true;
      continue;
    }
    std::size_t place = hash >> shift;
    while (table[place] != 0 && table[place] != hash) {
      place = (place + 1) & (places - 1);
      ++steps;
    }
    if (steps > kStepsPerBar * hashes.size()) {
      // Bars made so that their hashes meet: the table would take the square of their number.
      std::sort(hashes.begin(), hashes.end());
      return std::unique(hashes.begin(), hashes.end()) - hashes.begin();
    }
    different += table[place] == 0 ? 1 : 0;
    table[place] = hash;
  }
  return different + (zero ? 1 : 0);
}

bool MusicKeyFinder::find(const BoundedColumns& bounded, const PieceView& piece, MusicKeys& keys) {
  if (!bounded.is_sound(piece)) return false;
  const Columns& columns = piece.columns();
  keys = {};
  keys.sketch.fill(kEmpty);
  cells_.clear();
  hashes_.clear();
  // Heights are counted from the lowest pitch of the piece that is no drum's, which is known when all bars are.
  std::uint8_t reference = kHighest;
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    const bool drum = columns.track_drum[piece.track_index(track)] != 0;
    const Run cells = piece.cells(track);
    if (!cells.is_inside(piece.cells())) return false;
    for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
      const Run notes = piece.notes(cell);
      if (!notes.is_inside(piece.notes()) || notes.size() == 0) return false;
      const auto* const pitches = columns.note_pitch;
      const std::uint8_t low = drum ? std::uint8_t{0} : *std::min_element(pitches + notes.begin, pitches + notes.end);
      if (!drum) reference = std::min(reference, low);
      const std::uint64_t hash = mixed(sum_of_notes(columns, notes, low) + (drum ? 1 : 0));
      cells_.push_back({hash, columns.cell_bar[cell], low});
      hashes_.push_back(hash);
      auto& bin = keys.sketch[hash >> (64 - kSketchBits)];
      bin = std::min(bin, static_cast<std::uint32_t>(hash & 0xFFFFFFFEU));
    }
  }
  auto cell = cells_.cbegin();
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    const bool drum = columns.track_drum[piece.track_index(track)] != 0;
    // As many as were put there.
    const auto end = cell + std::min<std::int64_t>(piece.cells(track).size(), cells_.cend() - cell);
    if (cell == end) continue;
    std::uint64_t sum = 0;
    for (; cell != end; ++cell) {
      const std::int64_t height = drum ? 0 : std::int64_t{cell->low} - reference;
      sum += mixed(cell->hash + mixed(joined(cell->bar, height)));
    }
    keys.exact += sum == 0 ? 0 : mixed(sum);
  }
  fill_empty(keys.sketch);
  keys.bars = count_different(hashes_, table_);
  return true;
}

}  // namespace midigpt::score
