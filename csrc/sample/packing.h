// Packing documents: packed rows of equal length.
#pragma once

#include <cstdint>

namespace midigpt::sample {

// Best-fit decreasing: documents from the longest to the shortest, each into the row with the least room that is
// enough. Writes the row of each document, -1 where none had room. Lengths are at least 0.
// Source: D. S. Johnson, "Near-optimal bin packing algorithms", MIT, 1973.
void best_fit_decreasing(const std::int64_t* lengths, std::int64_t num_documents, std::int64_t num_rows,
                         std::int64_t row_length, std::int32_t* row_of_document);

// Documents and the rows they go to.
struct Documents {
  const std::int32_t* tokens = nullptr;
  const std::int32_t* positions = nullptr;  // of the tokens; nullptr: they count the document's tokens
  const std::uint8_t* role = nullptr;
  const std::int64_t* offsets = nullptr;  // [count + 1]
  const std::int32_t* row = nullptr;      // [count], -1: left out
  std::int64_t count = 0;
};

// Rows as in midigpt_core.records.PackedBatch, [num_rows * row_length] each.
struct Rows {
  std::int64_t* input_ids = nullptr;
  std::int64_t* labels = nullptr;
  std::int64_t* position_ids = nullptr;
  std::int32_t* document_ids = nullptr;
  std::uint8_t* role = nullptr;
  std::int64_t num_rows = 0;
  std::int64_t row_length = 0;
};

// Whether every document's offsets ascend within `num_tokens` and each row's documents fit in it.
[[nodiscard]] bool documents_fit(const Documents& documents, std::int64_t num_tokens, const Rows& rows);

// Writes the documents of each row one after another in their own order, then padding. They must fit.
void fill_rows(const Documents& documents, const Rows& rows);

}  // namespace midigpt::sample
