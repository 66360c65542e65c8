// Writes the tokens of one loaded window (docs/encoder-specification.md, C).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "encode/attributes.h"
#include "encode/request.h"
#include "encode/window.h"
#include "vocab/codebook.h"

namespace midigpt::encode {

// The options of one window, apart from its notes.
struct DocumentRequest {
  const std::uint8_t* infill = nullptr;            // [T, B]
  const std::uint8_t* masked = nullptr;            // [T, B]
  std::int64_t max_bars = 0;                       // B
  const std::uint8_t* attributes_kept = nullptr;   // [K] or nullptr
  const std::int16_t* attribute_values = nullptr;  // [T, 1 + B, K] or nullptr
  std::int32_t window_bars = 0;
  std::int32_t genre = -1;
  bool use_velocity = true;
  bool use_microtiming = true;
  std::int64_t partial_track = -1;
  std::int64_t partial_bars = -1;
  MaskedAs masked_as = MaskedAs::MaskToken;

  [[nodiscard]] bool infilled(std::int64_t slot, std::size_t bar) const {
    return infill[slot * max_bars + static_cast<std::int64_t>(bar)] != 0;
  }
  [[nodiscard]] bool is_masked(std::int64_t slot, std::size_t bar) const {
    return masked[slot * max_bars + static_cast<std::int64_t>(bar)] != 0;
  }
};

// The outcome of writing one document, in tokens from its start.
struct WrittenDocument {
  Status status = Status::Ok;
  bool infill = false;  // has cells to fill in
  std::int64_t length = 0;
  std::int64_t first_target = 0;
  // Tokens of each track, including its fill blocks: the saving if it is left out.
  std::span<const std::int64_t> track_lengths;
};

class DocumentWriter {
 public:
  DocumentWriter(const vocab::Codebook& book, TokenBuffer& tokens, std::vector<MaskedSpan>& spans)
      : book_(book), tokens_(tokens), spans_(spans) {}

  // Appends one document. A document without infill cells ends at the last bar or track end within `limit` tokens
  // (0 or less: none), with status Cut; one with them is written in full whatever its length. With a status that has
  // no tokens, what was appended is to be thrown away.
  WrittenDocument write(const LoadedWindow& window, const AttributeValues& values, const DocumentRequest& request,
                        std::int64_t document, std::int64_t limit);

 private:
  enum class Progress : std::uint8_t { Ok, Full, UnsupportedSignature, UnsupportedValue };
  enum class BodyKind : std::uint8_t { Removed, Placeholder, Span, MaskToken, Notes, Nothing };

  Progress write_header();
  Progress write_track(std::size_t index);
  Progress write_bar(std::size_t index, std::size_t bar);
  [[nodiscard]] BodyKind body_kind(const Track& track, std::size_t bar) const;
  Progress write_notes(std::span<const Note> notes, bool drum);
  Progress write_fills();
  void write_attributes(std::span<const vocab::WrittenAttribute> attributes, std::size_t index, std::size_t row);
  // One token if its type is in the vocabulary, with the value taken into its domain.
  void write_clamped(vocab::TokenType type, std::int64_t value);
  Progress write_switch(vocab::TokenType type, bool on);
  // The value of a signature, -1 if the encoder has none.
  std::int32_t time_signature(const vocab::TimeSignature& signature);
  [[nodiscard]] std::int64_t position() const { return static_cast<std::int64_t>(tokens_.size() - start_); }
  // Remembers that the document may end here; whether it still may grow.
  Progress end_of_unit();

  const vocab::Codebook& book_;
  TokenBuffer& tokens_;
  std::vector<MaskedSpan>& spans_;

  const LoadedWindow* window_ = nullptr;
  const AttributeValues* values_ = nullptr;
  const DocumentRequest* request_ = nullptr;
  std::int64_t document_ = 0;
  std::int64_t limit_ = 0;  // 0: none
  std::size_t start_ = 0;
  std::int64_t last_end_ = 0;  // of a whole bar or track within the limit
  bool infill_ = false;
  vocab::TimeSignature last_signature_;
  std::int32_t last_signature_value_ = -1;  // -1: none yet
  std::vector<std::int64_t> track_lengths_;
};

}  // namespace midigpt::encode
