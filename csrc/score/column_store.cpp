#include "score/column_store.h"

#include <algorithm>

namespace midigpt::score {

namespace {

template <class Visit>
void for_each_value_array(const Visit& visit) {
  for_each_array(kValueArrays, visit);
  for_each_array(kNoteArrays, visit);
}

}  // namespace

void ColumnStore::clear() {
  const auto empty = [this](const char*, auto array) { (this->*array).clear(); };
  for_each_array(kValueArrays, empty);
  for_each_array(kNoteArrays, empty);
  for_each_array(kOffsetArrays, [this](const char*, auto array) {
    (this->*array).clear();
    (this->*array).push_back(0);
  });
}

void ColumnStore::end_piece(std::int32_t piece_tempo) {
  tempo.push_back(piece_tempo);
  track_offsets.push_back(static_cast<std::int64_t>(track_program.size()));
  bar_offsets.push_back(static_cast<std::int64_t>(bar_length.size()));
  cell_offsets.push_back(static_cast<std::int64_t>(cell_bar.size()));
  note_offsets.push_back(static_cast<std::int64_t>(note_pitch.size()));
}

ColumnStore::Sizes ColumnStore::sizes() const {
  Sizes sizes;
  std::size_t i = 0;
  for_each_value_array([&](const char*, auto array) { sizes[i++] = (this->*array).size(); });
  return sizes;
}

void ColumnStore::resize_values(const Sizes& sizes) {
  std::size_t i = 0;
  for_each_value_array([&](const char*, auto array) { (this->*array).resize(sizes[i++]); });
}

void ColumnStore::append_offsets(const ColumnStore& part) {
  for_each_array(kOffsetArrays, [&](const char*, auto array) {
    const std::int64_t base = (this->*array).back();
    for (const std::int64_t offset : (part.*array).from(1)) (this->*array).push_back(base + offset);
  });
}

void ColumnStore::put(const ColumnStore& part, const Sizes& starts) {
  std::size_t i = 0;
  for_each_value_array([&](const char*, auto array) {
    const auto& values = part.*array;
    std::copy_n(values.data(), values.size(), (this->*array).data() + starts[i++]);
  });
}

void ColumnStore::reserve_notes(std::size_t count) {
  for_each_array(kNoteArrays, [&](const char*, auto array) { (this->*array).reserve(count); });
}

void ColumnStore::shrink_to_fit() {
  const auto shrink = [this](const char*, auto array) { (this->*array).shrink_to_fit(); };
  for_each_array(kOffsetArrays, shrink);
  for_each_array(kValueArrays, shrink);
  for_each_array(kNoteArrays, shrink);
}

}  // namespace midigpt::score
