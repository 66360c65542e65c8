// Columns of many pieces, which several threads read.
#pragma once

#include <array>
#include <cstddef>

#include "midi/growing_array.h"
#include "score/owned_columns.h"

namespace midigpt::score {

struct ColumnStore : GrowingColumns<midi::GrowingArray> {
  // Of all columns, in the order of the table.
  using Sizes = std::array<std::size_t, kColumns>;

  [[nodiscard]] Sizes sizes() const;
  // All but the offsets. New values are uninitialised, until `put` writes them.
  void resize_values(const Sizes& sizes);
  // The pieces of `part` come next.
  void append_offsets(const ColumnStore& part);
  // Copies the values of `part` to where they start. Several threads may put several parts.
  void put(const ColumnStore& part, const Sizes& starts);
  void reserve_notes(std::size_t count);
};

}  // namespace midigpt::score
