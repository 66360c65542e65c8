#include "vocab/document_positions.h"

namespace midigpt::vocab {

void DocumentPositions::restart() {
  placeholders_.clear();
  blocks_ = 0;
  place_ = 0;
  shift_ = 0;
}

std::int32_t DocumentPositions::next(std::int32_t token) {
  const std::int32_t place = place_++;
  if (!book_->settings().placeholder_positions) return place;
  const TokenType type = book_->type_of(token);
  if (type == TokenType::FillInPlaceholder) placeholders_.push_back(place);
  if (type == TokenType::FillInStart) {
    // A fill block without a placeholder, which no document of the encoder has, keeps its own places.
    shift_ = blocks_ < placeholders_.size() ? place - placeholders_[blocks_] : 0;
    ++blocks_;
  }
  const std::int32_t position = place - shift_;
  if (type == TokenType::FillInEnd) shift_ = 0;
  return position;
}

}  // namespace midigpt::vocab
