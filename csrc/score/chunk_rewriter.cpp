#include "score/chunk_rewriter.h"

#include <string_view>

namespace midigpt::score {

namespace {

constexpr std::int64_t kMaxDelta = 0x0FFFFFFF;  // what four base-128 bytes hold

}  // namespace

ChunkRewriter::ChunkRewriter(std::span<const std::uint8_t> bytes, std::vector<std::uint8_t>& out)
    : bytes_(bytes), out_(out), length_at_(out.size() + 4) {
  constexpr std::string_view kHeader("MTrk\0\0\0\0", 8);
  out_.insert(out_.end(), kHeader.begin(), kHeader.end());
}

bool ChunkRewriter::delta(std::int64_t tick) {
  const std::int64_t ticks = tick - tick_;
  if (ticks < 0 || ticks > kMaxDelta) return false;
  tick_ = tick;
  for (int shift = 21; shift > 0; shift -= 7) {
    if (ticks >> shift > 0) out_.push_back(static_cast<std::uint8_t>(ticks >> shift | 0x80));
  }
  out_.push_back(static_cast<std::uint8_t>(ticks & 0x7F));
  return true;
}

bool ChunkRewriter::keep(const midi::Event& event, std::int64_t tick) {
  // A tempo or time signature that is too short is read on into the bytes after it, and these change.
  const std::uint32_t size = event.end - event.data;
  if (event.is_meta(midi::kTempo) && size < 3) return false;
  if (event.is_meta(midi::kTimeSignature) && size < 2) return false;
  if (tick - tick_ == event.delta) {
    // As it was written, however many bytes that took.
    append(bytes_.subspan(event.begin, event.message - event.begin));
    tick_ = tick;
  } else if (!delta(tick)) {
    return false;
  }
  if (event.running) {
    if (event.is_system()) {
      // It has the size of the message whose status it shares, so that message must still precede it. If there is none,
      // the size depends on the first byte of the next delta time, and delta times change.
      if (!system_status_ || status_ != event.status || event.message == event.end) return false;
    } else if (status_ != event.status || (!follows_ && standard_status_ != event.status)) {
      out_.push_back(event.status);
      standard_status_ = event.status;
    }
  }
  append(bytes_.subspan(event.message, event.end - event.message));
  if (event.status == midi::kMeta) {
    standard_status_ = 0;
  } else {
    system_status_ = event.is_system();
    status_ = event.status;
    if (!event.running) standard_status_ = event.is_system() ? 0 : event.status;
  }
  follows_ = true;
  return true;
}

bool ChunkRewriter::insert(std::span<const std::uint8_t> message, std::int64_t tick) {
  if (!delta(tick)) return false;
  append(message);
  if (message[0] == midi::kMeta) {
    standard_status_ = 0;
  } else {
    status_ = standard_status_ = message[0];
    system_status_ = false;
  }
  follows_ = false;
  return true;
}

bool ChunkRewriter::finish(std::span<const std::uint8_t> rest) {
  append(rest);
  const std::size_t length = out_.size() - length_at_ - 4;
  for (std::size_t i = 0; i < 4; ++i) out_[length_at_ + i] = static_cast<std::uint8_t>(length >> (24 - 8 * i));
  return length <= UINT32_MAX;
}

}  // namespace midigpt::score
