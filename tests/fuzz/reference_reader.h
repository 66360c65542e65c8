// A second reader of MIDI files, written for plainness from docs/reading-midi.md: one event, one note and one bar after
// another, nothing reused, nothing fast. It shares the list of errors and the limits with the reader, and no code.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "midi/errors.h"

namespace midigpt::fuzz::reference {

struct Note {
  std::int64_t bar = 0;
  std::int64_t onset = 0;
  std::int64_t duration = 0;
  std::int64_t pitch = 0;
  std::int64_t velocity = 0;
  std::int64_t microtiming = 0;
};

struct Track {
  std::int64_t program = 0;
  bool drum = false;
  std::vector<Note> notes;
};

struct Bar {
  std::int64_t numerator = 0;
  std::int64_t denominator = 0;
  double quarters = 0;
};

struct Score {
  midi::ReadError error = midi::ReadError::None;
  std::int64_t tempo = 500'000;
  std::vector<Bar> bars;
  std::vector<Track> tracks;
};

Score read(std::span<const std::uint8_t> bytes);

}  // namespace midigpt::fuzz::reference
