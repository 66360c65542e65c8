#include "midi/events.h"

namespace midigpt::midi {

bool EventCursor::number(std::size_t& at, std::uint32_t& value) const {
  value = 0;
  for (int i = 0; i < 4; ++i) {
    if (at >= last_) return false;
    const std::uint8_t byte = bytes_[at++];
    value = value << 7 | (byte & 0x7FU);
    if (byte < 0x80) break;
  }
  return true;
}

// Bytes after the status of a system message that begins at `at`.
std::size_t EventCursor::system_size(std::size_t at) const {
  switch (status_) {
    case 0xF0: {
      std::size_t data = at;
      std::uint32_t length = 0;
      return number(data, length) ? data - at + length : last_ - at + 1;
    }
    case 0xF1:
    case 0xF3: return 1;
    case 0xF2: return 2;
    default: return 0;
  }
}

bool EventCursor::next(Event& event) {
  if (ended_ || position_ >= last_) return false;
  std::size_t at = position_;
  event.begin = static_cast<std::uint32_t>(at);
  if (!number(at, event.delta) || at >= last_) return false;
  event.message = static_cast<std::uint32_t>(at);
  event.tick = tick_ + event.delta;
  event.running = false;
  event.type = 0;
  std::size_t size = 0;
  if (bytes_[at] == kMeta) {
    event.status = kMeta;
    std::uint32_t length = 0;
    if (++at >= last_) return false;
    event.type = bytes_[at++];
    if (!number(at, length)) return false;
    size = length;
  } else {
    event.running = bytes_[at] < 0x80;
    if (event.running && status_ == 0) return false;
    if (!event.running) {
      status_ = bytes_[at++];
      if (status_ >= 0xF0) system_size_ = system_size(at);
    }
    event.status = status_;
    const unsigned kind = status_ & 0xF0U;
    size = kind == 0xF0 ? system_size_ : kind == 0xC0 || kind == 0xD0 ? 1 : 2;
  }
  if (last_ - at < size) return false;
  event.data = static_cast<std::uint32_t>(at);
  event.end = static_cast<std::uint32_t>(at + size);
  tick_ = event.tick;
  position_ = event.end;
  ended_ = event.is_meta(kEndOfTrack);
  return true;
}

}  // namespace midigpt::midi
