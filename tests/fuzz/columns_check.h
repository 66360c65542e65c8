// Whether the columns of pieces say what records.ScoreColumns promises.
#pragma once

#include <cstddef>

#include "decode/decoder.h"
#include "score/column_store.h"
#include "score/columns.h"

namespace midigpt::fuzz {

// The columns of a store, which must outlive them.
score::Columns view(const score::ColumnStore& store);

// Checks every run, cell and note of what the reader made.
void check_columns(const score::ColumnStore& store, std::size_t num_pieces);

// Checks every run and value that is relied on of a decoded score.
void check_decoded(const decode::DecodedScore& score);

}  // namespace midigpt::fuzz
