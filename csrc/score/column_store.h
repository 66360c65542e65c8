// Owning storage behind Columns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>

#include "midi/growing_array.h"
#include "score/columns.h"

namespace midigpt::score {

struct ColumnStore {
  template <class T>
  using Array = midi::GrowingArray<T>;

  // Of the arrays of values, in the order of the tables below.
  using Sizes = std::array<std::size_t, 15>;

  ColumnStore() { clear(); }

  void clear();
  // The piece is complete: note where its runs end.
  void end_piece(std::int32_t piece_tempo);
  [[nodiscard]] Sizes sizes() const;
  // New values are uninitialised, until `put` writes them.
  void resize_values(const Sizes& sizes);
  // The pieces of `part` come next.
  void append_offsets(const ColumnStore& part);
  // Copy the values of `part` to where they start. Several threads may put several parts.
  void put(const ColumnStore& part, const Sizes& starts);
  void reserve_notes(std::size_t count);
  void shrink_to_fit();

  Array<std::int32_t> tempo;
  Array<std::int64_t> track_offsets;
  Array<std::int64_t> bar_offsets;
  Array<std::int64_t> cell_offsets;
  Array<std::int64_t> note_offsets;
  Array<std::uint8_t> track_program;
  Array<std::uint8_t> track_drum;
  Array<std::int8_t> track_nomml;
  Array<std::int32_t> track_cell_end;
  Array<std::int32_t> bar_numerator;
  Array<std::int32_t> bar_denominator;
  Array<double> bar_length;
  Array<std::int32_t> cell_bar;
  Array<std::int32_t> cell_note_end;
  Array<std::int32_t> note_onset;
  Array<std::int32_t> note_duration;
  Array<std::uint8_t> note_pitch;
  Array<std::uint8_t> note_velocity;
  Array<std::int32_t> note_microtiming;
};

// The arrays of a store by the names that Python's records.ScoreColumns gives them.
template <class T>
struct NamedArray {
  const char* name;
  ColumnStore::Array<T> ColumnStore::* array;
};

inline constexpr std::tuple kOffsetArrays{
    NamedArray<std::int64_t>{"track_offsets", &ColumnStore::track_offsets},
    NamedArray<std::int64_t>{"bar_offsets", &ColumnStore::bar_offsets},
    NamedArray<std::int64_t>{"cell_offsets", &ColumnStore::cell_offsets},
    NamedArray<std::int64_t>{"note_offsets", &ColumnStore::note_offsets},
};

inline constexpr std::tuple kValueArrays{
    NamedArray<std::int32_t>{"tempo", &ColumnStore::tempo},
    NamedArray<std::uint8_t>{"track_program", &ColumnStore::track_program},
    NamedArray<std::uint8_t>{"track_drum", &ColumnStore::track_drum},
    NamedArray<std::int8_t>{"track_nomml", &ColumnStore::track_nomml},
    NamedArray<std::int32_t>{"track_cell_end", &ColumnStore::track_cell_end},
    NamedArray<std::int32_t>{"bar_numerator", &ColumnStore::bar_numerator},
    NamedArray<std::int32_t>{"bar_denominator", &ColumnStore::bar_denominator},
    NamedArray<double>{"bar_length", &ColumnStore::bar_length},
    NamedArray<std::int32_t>{"cell_bar", &ColumnStore::cell_bar},
    NamedArray<std::int32_t>{"cell_note_end", &ColumnStore::cell_note_end},
};

inline constexpr std::tuple kNoteArrays{
    NamedArray<std::int32_t>{"note_onset", &ColumnStore::note_onset},
    NamedArray<std::int32_t>{"note_duration", &ColumnStore::note_duration},
    NamedArray<std::uint8_t>{"note_pitch", &ColumnStore::note_pitch},
    NamedArray<std::uint8_t>{"note_velocity", &ColumnStore::note_velocity},
    NamedArray<std::int32_t>{"note_microtiming", &ColumnStore::note_microtiming},
};

static_assert(std::tuple_size_v<decltype(kValueArrays)> + std::tuple_size_v<decltype(kNoteArrays)> ==
              std::tuple_size_v<ColumnStore::Sizes>);

// Call `visit(name, pointer to member)` for each array of one of the tables above.
template <class Table, class Visit>
void for_each_array(const Table& table, Visit&& visit) {
  std::apply([&](const auto&... entry) { (visit(entry.name, entry.array), ...); }, table);
}

}  // namespace midigpt::score
