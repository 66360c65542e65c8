// A MIDI file with some of its notes replaced, and every other event as it was.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace midigpt::score {

// What changes. Tracks, bars and notes are those of the score that the file is read as, in its order.
struct Edit {
  std::span<const std::uint8_t> removed;  // a flag for each note of that score

  // The notes to add: their track, those of `new_program` included, and their place as in Columns.
  std::span<const std::int32_t> track;
  std::span<const std::int32_t> bar;
  std::span<const std::int32_t> onset;
  std::span<const std::int32_t> duration;
  std::span<const std::uint8_t> pitch;
  std::span<const std::uint8_t> velocity;
  std::span<const std::int32_t> microtiming;

  // The tracks to add after those of the file.
  std::span<const std::uint8_t> new_program;
  std::span<const std::uint8_t> new_drum;

  // The bars of the edited score: first those of the file, then those to add.
  std::span<const std::int32_t> numerator;
  std::span<const std::int32_t> denominator;

  std::int32_t tempo = 0;
};

struct Spliced {
  std::vector<std::uint8_t> bytes;
  // Notes that were left out: the file's bar is cut short by the next time signature before they would start.
  std::int64_t beyond_bar = 0;
  // Notes that were left out: an earlier note of their channel and pitch is never closed, and theirs would close it.
  std::int64_t after_unclosed = 0;
  // A file of format 0 became one of format 1, to hold the tracks that were added.
  bool became_format_1 = false;
  // Added tracks that have a port of their own, since no channel was free.
  std::vector<std::int32_t> tracks_on_ports;
};

// The file `bytes` with `edit`. Returns nullptr, or why that cannot be done.
//
// The result differs from `bytes` in note events of removed and added notes, in time signatures and the tempo where
// `edit` has others, in chunks at the end for added tracks, in a silent-track event (midi/silent_track.h) where a track
// loses its last note, and in delta times and running status around all these. A chunk without such a change is the
// same byte for byte.
//
// Reading the result gives the notes that were not removed as they were. An added note ends where the next note of its
// channel and pitch starts, and not before one ends in which it starts: notes are closed in the order in which they
// were opened, so anything else would change the other note's length. The same goes for notes in other chunks on its
// channel and port, as a synthesizer plays them, where the notes of its own chunk leave a choice.
const char* splice_midi(std::span<const std::uint8_t> bytes, const Edit& edit, Spliced& out);

}  // namespace midigpt::score
