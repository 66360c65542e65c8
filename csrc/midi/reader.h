// Standard MIDI files: bytes to notes, tracks and time signatures in one pass.
//
// docs/reading-midi.md describes how each byte is read; limits.h has the limits of a file.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "midi/errors.h"
#include "midi/growing_array.h"

namespace midigpt::midi {

inline constexpr std::int32_t kUnclosed = -1;
inline constexpr int kDrumChannel = 9;  // counted from 0

struct Note {
  std::uint32_t onset;    // ticks
  std::int32_t duration;  // ticks, or kUnclosed: the note never ends and is to be left out
  std::int32_t next;      // while open: the next open note of the same channel and pitch
  std::uint16_t track;
  std::uint8_t pitch;
  std::uint8_t velocity;
};

// One (channel, program) of one MTrk chunk.
struct Track {
  std::uint8_t channel;
  std::uint8_t program;
  bool has_events;
  std::uint16_t chunk;  // counted from 0 among the MTrk chunks
  std::uint32_t first_note;
  std::uint32_t num_notes;
};

struct TimeSignature {
  std::uint32_t tick;
  std::uint8_t numerator;
  std::uint8_t log2_denominator;
};

// What one file says, in file order; reused from file to file.
struct File {
  std::int32_t ticks_per_quarter = 0;
  std::int32_t tempo = 0;                       // microseconds per quarter: the earliest tempo event's, else 500000
  std::uint32_t last_tick = 0;                  // of note ends and time signatures
  GrowingArray<Track> tracks;                   // by chunk, then channel, then program
  GrowingArray<Note> notes;                     // grouped by track, in file order within one
  GrowingArray<TimeSignature> time_signatures;  // in file order
};

// Tables of the reader by (channel, pitch) and (channel, program). All entries are -1 between chunks, so that starting
// a chunk costs nothing.
struct Scratch {
  static constexpr std::size_t kKeys = std::size_t{16} * 128;

  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): filled here, or valid only where another table says so
  Scratch() {
    oldest_open.fill(-1);
    track_of_program.fill(-1);
  }

  std::array<std::int32_t, kKeys> oldest_open;
  std::array<std::int32_t, kKeys> newest_open;  // valid where oldest_open is not -1
  std::array<std::int32_t, kKeys> track_of_program;
  GrowingArray<Track> sorted_tracks;
  GrowingArray<Note> sorted_notes;
  File file;
};

// Find the next MTrk chunk at or after `position`: its content is [position, end). Other chunks are skipped.
Outcome find_track(std::span<const std::uint8_t> bytes, std::size_t& position, std::size_t& end);

// Read `bytes` into `scratch.file`. After a failure the file's content is unspecified; the scratch can be used again.
Outcome read(std::span<const std::uint8_t> bytes, Scratch& scratch);

}  // namespace midigpt::midi
