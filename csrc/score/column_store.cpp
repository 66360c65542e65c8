#include "score/column_store.h"

#include <algorithm>

namespace midigpt::score {

ColumnStore::Sizes ColumnStore::sizes() const {
  Sizes sizes{};
  std::size_t i = 0;
  for_each_column(*this, [&](auto, const auto& array) { sizes[i++] = array.size(); });
  return sizes;
}

void ColumnStore::resize_values(const Sizes& sizes) {
  std::size_t i = 0;
  for_each_column(*this, [&](auto column, auto& array) {
    const std::size_t size = sizes[i++];
    if constexpr (decltype(column)::kLevel != Level::Offsets) array.resize(size);
  });
}

void ColumnStore::append_offsets(const ColumnStore& part) {
  for_each_column(*this, part, [&](auto column, auto& array, const auto& more) {
    if constexpr (decltype(column)::kLevel == Level::Offsets) {
      const std::int64_t base = array.back();
      for (const std::int64_t offset : more.from(1)) array.push_back(base + offset);
    }
  });
}

void ColumnStore::put(const ColumnStore& part, const Sizes& starts) {
  std::size_t i = 0;
  for_each_column(*this, part, [&](auto column, auto& array, const auto& values) {
    const std::size_t start = starts[i++];
    if constexpr (decltype(column)::kLevel != Level::Offsets) {
      std::copy_n(values.data(), values.size(), array.data() + start);
    }
  });
}

void ColumnStore::reserve_notes(std::size_t count) {
  for_each_column(*this, [&](auto column, auto& array) {
    if constexpr (decltype(column)::kLevel == Level::Note) array.reserve(count);
  });
}

}  // namespace midigpt::score
