// The events of an MTrk chunk one by one, with the bytes that hold them: for rewriting a file. Reading music is the
// work of track_reader.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace midigpt::midi {

inline constexpr std::uint8_t kMeta = 0xFF;
inline constexpr std::uint8_t kLyric = 0x05;
inline constexpr std::uint8_t kPort = 0x21;
inline constexpr std::uint8_t kEndOfTrack = 0x2F;
inline constexpr std::uint8_t kTempo = 0x51;
inline constexpr std::uint8_t kTimeSignature = 0x58;
inline constexpr std::uint8_t kSequencerSpecific = 0x7F;

// Offsets are counted from the start of the file.
struct Event {
  std::uint32_t tick = 0;     // since the start of the chunk
  std::uint32_t delta = 0;    // value of the delta time
  std::uint32_t begin = 0;    // of the delta time
  std::uint32_t message = 0;  // of what follows the delta time
  std::uint32_t data = 0;     // of the data bytes: after the status, and after the type and length of a meta event
  std::uint32_t end = 0;
  std::uint8_t status = 0;  // the status in effect, or kMeta
  std::uint8_t type = 0;    // of a meta event
  bool running = false;     // the status is that of an earlier event

  [[nodiscard]] bool is_meta(std::uint8_t meta_type) const { return status == kMeta && type == meta_type; }
  [[nodiscard]] bool is_system() const { return status >= 0xF0 && status != kMeta; }
  [[nodiscard]] bool is_channel_message() const { return status < 0xF0; }
  [[nodiscard]] unsigned channel() const { return status & 0x0FU; }
};

// Walks a chunk of a file that read() accepted: what is an event, and where it ends, is decided as there.
class EventCursor {
 public:
  // The content of the chunk is bytes[first, last).
  EventCursor(std::span<const std::uint8_t> bytes, std::size_t first, std::size_t last)
      : bytes_(bytes), position_(first), last_(last) {}

  // The next event, the end of track included; what follows that is none. False: there are no more.
  bool next(Event& event);

  // Where the bytes begin that next() has not returned.
  [[nodiscard]] std::size_t position() const { return position_; }

 private:
  bool number(std::size_t& at, std::uint32_t& value) const;
  [[nodiscard]] std::size_t system_size(std::size_t at) const;

  std::span<const std::uint8_t> bytes_;
  std::size_t position_;
  std::size_t last_;
  std::uint32_t tick_ = 0;
  std::uint8_t status_ = 0;
  std::size_t system_size_ = 0;
  bool ended_ = false;
};

}  // namespace midigpt::midi
