// Writes an MTrk chunk from events of another one and new ones between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "midi/events.h"

namespace midigpt::score {

class ChunkRewriter {
 public:
  // Appends to `out`; the offsets of events point into `bytes`.
  ChunkRewriter(std::span<const std::uint8_t> bytes, std::vector<std::uint8_t>& out);

  // The next event of the old chunk, at `tick` of the new one. An event that was not the one before it in the old chunk
  // must have been skipped(). False: it cannot be here.
  bool keep(const midi::Event& event, std::int64_t tick);
  // The next event of the old chunk is left out.
  void skip() { follows_ = false; }
  // A whole message that the old chunk does not have.
  bool insert(std::span<const std::uint8_t> message, std::int64_t tick);
  // The chunk is complete; `rest` follows its events. False: it is too long.
  bool finish(std::span<const std::uint8_t> rest);

  [[nodiscard]] std::int64_t tick() const { return tick_; }

 private:
  bool delta(std::int64_t tick);
  void append(std::span<const std::uint8_t> more) { out_.insert(out_.end(), more.begin(), more.end()); }

  std::span<const std::uint8_t> bytes_;
  std::vector<std::uint8_t>& out_;
  std::size_t length_at_;
  std::int64_t tick_ = 0;
  // The last event written is the one before the next event of the old chunk.
  bool follows_ = true;
  // The status that a data byte would have now: as our reader has it, where meta events do not matter, and as the
  // standard has it, where they and system messages end it (0: none).
  std::uint8_t status_ = 0;
  std::uint8_t standard_status_ = 0;
  // A system message set `status_`, and nothing has since.
  bool system_status_ = false;
};

}  // namespace midigpt::score
