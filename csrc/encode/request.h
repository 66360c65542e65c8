// What encoding is asked for and what it answers, as raw pointers: records.WindowBatch and records.TokenBatch without
// Python. Nothing here owns what it points to, except the answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "score/columns.h"

namespace midigpt::encode {

// The shards, one after another.
struct Corpus {
  std::span<const score::BoundedColumns> shards;
  const std::int64_t* piece_offsets = nullptr;  // [shards + 1]
  [[nodiscard]] std::int64_t num_pieces() const { return piece_offsets[shards.size()]; }
};

enum class MaskedAs : std::uint8_t { MaskToken, Span, Removed };

// N windows with room for T tracks, B bars and K attribute controls; shapes and meaning as in records.WindowBatch.
struct Windows {
  std::int64_t count = 0;       // N
  std::int64_t max_tracks = 0;  // T
  std::int64_t max_bars = 0;    // B
  const std::int64_t* piece = nullptr;
  const std::int32_t* start_bar = nullptr;
  const std::int32_t* num_bars = nullptr;
  const std::int32_t* tracks = nullptr;
  const std::uint8_t* infill = nullptr;
  const std::uint8_t* masked = nullptr;
  const std::int32_t* window_bars = nullptr;
  const std::int32_t* transpose = nullptr;
  const double* velocity_scale = nullptr;
  const std::int32_t* genre = nullptr;
  const std::int8_t* use_velocity = nullptr;
  const std::int8_t* use_microtiming = nullptr;
  const std::int32_t* partial_track = nullptr;
  const std::int32_t* partial_bars = nullptr;
  const std::uint8_t* masked_as = nullptr;
  const std::uint8_t* attributes_kept = nullptr;   // nullptr: all
  const std::int16_t* attribute_values = nullptr;  // nullptr: none given
  bool compute_attributes = true;
};

// The numbers of records.TokenStatus.
enum class Status : std::uint8_t { Ok, Cut, TracksDropped, TooLong, UnsupportedSignature, UnsupportedValue };

struct MaskedSpan {
  std::int64_t document = 0;
  std::int64_t begin = 0;  // tokens within the document
  std::int64_t end = 0;
};

// Token ids that grow without being cleared first: a document is written through a bare pointer after `reserve`.
class TokenBuffer {
 public:
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] const std::int32_t* data() const { return tokens_.data(); }
  std::int32_t* reserve(std::size_t more) {
    if (tokens_.size() - size_ < more) tokens_.resize(2 * (size_ + more));
    return tokens_.data() + size_;
  }
  void commit(const std::int32_t* end) { size_ = static_cast<std::size_t>(end - tokens_.data()); }
  void push(std::int32_t token) {
    *reserve(1) = token;
    ++size_;
  }
  void truncate(std::size_t size) { size_ = size; }

 private:
  std::vector<std::int32_t> tokens_;
  std::size_t size_ = 0;
};

// Documents of consecutive windows. `first_target` is within the document: roles are context before it, target after.
// Aligned so that threads which fill neighbours write to no cache line in common.
struct alignas(128) Documents {
  TokenBuffer tokens;
  std::vector<std::int32_t> positions;  // of the tokens; empty: they count the document's tokens
  std::vector<std::int64_t> ends;
  std::vector<std::int64_t> first_target;
  std::vector<Status> status;
  std::vector<MaskedSpan> masked_spans;
};

// The notes of windows on the encoder's grid, as attributes that plugins compute get them
// (midigpt_core/score/window_notes.py). Notes follow one another by window, track, bar, onset and pitch.
struct WindowNotes {
  std::vector<std::int64_t> cell_ends;  // [N, T, B], the end of each bar's notes
  std::vector<std::int32_t> onset;      // ticks from the start of the bar
  std::vector<std::int32_t> duration;
  std::vector<std::uint8_t> pitch;
  std::vector<std::uint8_t> velocity;
  std::vector<std::int32_t> num_bars;     // [N, T], -1 where there is no track
  std::vector<std::uint8_t> program;      // [N, T]
  std::vector<std::uint8_t> drum;         // [N, T]
  std::vector<std::int32_t> numerator;    // [N, T, B]
  std::vector<std::int32_t> denominator;  // [N, T, B]
};

// Why a request cannot be carried out at all: a bug of the caller or damaged columns, never the music's fault.
struct RequestError {
  std::string message;  // empty: none
  explicit operator bool() const { return !message.empty(); }
};

}  // namespace midigpt::encode
