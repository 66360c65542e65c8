// The position that the model gets for each token of a document (docs/encoder-specification.md, C.7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "vocab/codebook.h"

namespace midigpt::vocab {

// Counts through one document. Encoder and grammar both count with this, so what is trained on and what is generated
// cannot differ. No position is above the token's place in the document: a fill block comes after its placeholder.
class DocumentPositions {
 public:
  explicit DocumentPositions(const Codebook& book) : book_(&book) {}

  // Begins another document.
  void restart();
  // The position of the document's next token, which must be in the vocabulary.
  std::int32_t next(std::int32_t token);

 private:
  const Codebook* book_;
  std::vector<std::int32_t> placeholders_;  // their places
  std::size_t blocks_ = 0;                  // begun
  std::int32_t place_ = 0;                  // of the next token
  std::int32_t shift_ = 0;                  // from position to place, in a block
};

}  // namespace midigpt::vocab
