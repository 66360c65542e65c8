#include "midi/reader.h"

#include <cstring>

#include "midi/limits.h"
#include "midi/track_reader.h"

namespace midigpt::midi {

namespace {

constexpr std::size_t kHeaderBytes = 14;
constexpr std::size_t kChunkHeaderBytes = 8;
constexpr std::int32_t kDefaultTempo = 500'000;
constexpr std::int32_t kDefaultTicksPerQuarter = 480;  // where the file says 0

std::uint32_t big_endian_16(const std::uint8_t* p) { return static_cast<std::uint32_t>(p[0] << 8 | p[1]); }
std::uint32_t big_endian_32(const std::uint8_t* p) { return big_endian_16(p) << 16 | big_endian_16(p + 2); }
bool is_named(const std::uint8_t* p, const char* name) { return std::memcmp(p, name, 4) == 0; }

Outcome read_header(std::span<const std::uint8_t> bytes, File& file) {
  const std::uint8_t* const p = bytes.data();
  if (static_cast<std::int64_t>(bytes.size()) > kMaxFileBytes) return {ReadError::FileTooLarge, 0};
  if (bytes.size() < kHeaderBytes || !is_named(p, "MThd")) return {ReadError::NoHeader, 0};
  if (big_endian_32(p + 4) != 6) return {ReadError::HeaderLength, 4};
  if (big_endian_16(p + 8) > 2) return {ReadError::Format, 8};
  const std::uint32_t division = big_endian_16(p + 12);
  if ((division & 0x8000) != 0) return {ReadError::SmpteDivision, 12};
  file.ticks_per_quarter = division == 0 ? kDefaultTicksPerQuarter : static_cast<std::int32_t>(division);
  return {};
}

}  // namespace

Outcome find_track(std::span<const std::uint8_t> bytes, std::size_t& position, std::size_t& end) {
  while (true) {
    const auto offset = static_cast<std::int64_t>(position);
    if (bytes.size() - position < kChunkHeaderBytes) return {ReadError::ChunkHeader, offset};
    const std::uint8_t* const header = bytes.data() + position;
    const std::uint32_t length = big_endian_32(header + 4);
    position += kChunkHeaderBytes;
    if (bytes.size() - position < length) return {ReadError::ChunkLength, offset};
    end = position + length;
    if (is_named(header, "MTrk")) return {};
    position = end;
  }
}

Outcome read(std::span<const std::uint8_t> bytes, Scratch& scratch) {
  File& file = scratch.file;
  file.tempo = kDefaultTempo;
  file.last_tick = 0;
  file.tracks.clear();
  file.notes.clear();
  file.time_signatures.clear();
  const Outcome header = read_header(bytes, file);
  if (header.failed()) return header;

  TrackReader reader(bytes, scratch);
  std::uint32_t due = big_endian_16(bytes.data() + 10);
  std::size_t position = kHeaderBytes;
  // Fewer chunks than announced are accepted, and so is whatever follows the last one.
  while (due > 0 && position < bytes.size()) {
    std::size_t end = 0;
    const Outcome found = find_track(bytes, position, end);
    if (found.failed()) return found;
    const Outcome outcome = reader.read(position, end);
    if (outcome.failed()) return outcome;
    position = end;
    --due;
  }
  return {};
}

}  // namespace midigpt::midi
