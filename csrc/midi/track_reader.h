// The events of one MTrk chunk.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "midi/reader.h"

namespace midigpt::midi {

class TrackReader {
 public:
  // Offsets are counted from the start of `bytes`, the whole file.
  TrackReader(std::span<const std::uint8_t> bytes, Scratch& scratch)
      : begin_(bytes.data()), file_end_(bytes.data() + bytes.size()), scratch_(scratch), file_(scratch.file) {}

  // Add the notes and tracks of the chunk whose content is bytes[first, last) to the file.
  Outcome read(std::size_t first, std::size_t last);

 private:
  static constexpr unsigned kChannels = 16;

  // A position in the file; null, and likewise false from a bool function: refused, `error_` says why.
  using Position = const std::uint8_t*;

  void start();
  Outcome read_events(Position p, Position end);
  void finish();
  void group_notes();
  void sort_notes(Track* tracks, std::size_t num_tracks, std::size_t num_notes);

  bool note_on(std::uint32_t tick, unsigned channel, std::uint8_t pitch, std::uint8_t velocity);
  void note_off(std::uint32_t tick, unsigned channel, std::uint8_t pitch);
  Position channel_event(Position p, Position end, std::uint8_t status);
  Position system_event(Position p, Position end);
  Position meta_event(Position p, Position end, std::uint32_t tick);

  Position fail(ReadError error);
  bool refuse(ReadError error);
  bool tempo_event(Position data, std::uint32_t tick);
  bool time_signature_event(Position data, std::uint32_t tick);
  bool lyric_event(bool has_text);
  bool silent_track_event(Position data, std::uint32_t length);
  void set_program(unsigned channel, std::uint8_t program);
  void settle_marks(unsigned channel);
  bool create_track(unsigned channel);

  const Position begin_;
  const Position file_end_;
  Scratch& scratch_;
  File& file_;
  ReadError error_ = ReadError::None;
  std::uint32_t tempo_tick_ = UINT32_MAX;  // of the earliest tempo event so far
  std::uint16_t chunk_ = 0;

  // State of one chunk.
  std::size_t first_track_ = 0;
  std::size_t first_note_ = 0;
  std::int64_t open_notes_ = 0;
  std::uint32_t last_note_end_ = 0;
  std::ptrdiff_t system_size_ = 0;                 // bytes after the status of the last system message
  std::array<std::uint8_t, kChannels> program_{};  // by channel, as are the next three
  std::array<std::int32_t, kChannels> track_{};    // of the channel's current program, -1: none yet
  std::array<bool, kChannels> marked_{};           // has had a controller that belongs to no track yet
  std::array<bool, kChannels> held_{};             // has had one that waits for the channel's next track
};

}  // namespace midigpt::midi
