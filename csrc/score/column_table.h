// The one table of score columns. Everything that goes through all of them is made from it: midigpt_core.records.
// ScoreColumns has a field of each name, and midigpt_core.score.columns gets the table from the native module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace midigpt::score {

// What a column has one value for. Offsets have one for each piece and one more.
enum class Level : std::uint8_t { Offsets, Piece, Track, Bar, Cell, Note };

inline constexpr std::size_t kLevels = 6;

constexpr std::size_t index_of(Level level) { return static_cast<std::size_t>(level); }

// X(level, type, name). Inputs of the fuzzing targets count columns in this order.
//
//   track_nomml       -1: the source says nothing
//   track_bar_end     may be missing: the tracks of a piece share its bars
//   bar_length        quarter notes
//   note_onset        ticks within the bar
//   note_microtiming  1/resolution of a tick
#define MIDIGPT_SCORE_COLUMNS(X) \
  X(Offsets, std::int64_t, track_offsets) \
  X(Offsets, std::int64_t, bar_offsets) \
  X(Offsets, std::int64_t, cell_offsets) \
  X(Offsets, std::int64_t, note_offsets) \
  X(Piece, std::int32_t, tempo) \
  X(Track, std::uint8_t, track_program) \
  X(Track, std::uint8_t, track_drum) \
  X(Track, std::int8_t, track_nomml) \
  X(Track, std::int32_t, track_cell_end) \
  X(Track, std::int32_t, track_bar_end) \
  X(Bar, std::int32_t, bar_numerator) \
  X(Bar, std::int32_t, bar_denominator) \
  X(Bar, double, bar_length) \
  X(Cell, std::int32_t, cell_bar) \
  X(Cell, std::int32_t, cell_note_end) \
  X(Note, std::int32_t, note_onset) \
  X(Note, std::int32_t, note_duration) \
  X(Note, std::uint8_t, note_pitch) \
  X(Note, std::uint8_t, note_velocity) \
  X(Note, std::int32_t, note_microtiming)

#define MIDIGPT_COUNT(level, type, name) +1
inline constexpr std::size_t kColumns = MIDIGPT_SCORE_COLUMNS(MIDIGPT_COUNT);
#undef MIDIGPT_COUNT

template <Level kOf, class T>
struct Column {
  using Value = T;
  static constexpr Level kLevel = kOf;

  const char* name;

  [[nodiscard]] constexpr bool may_be_missing() const { return std::string_view(name) == "track_bar_end"; }
};

// One array for each column.
template <template <class> class Array>
struct ColumnSet {
#define MIDIGPT_MEMBER(level, type, name) Array<type> name{};
  MIDIGPT_SCORE_COLUMNS(MIDIGPT_MEMBER)
#undef MIDIGPT_MEMBER
};

// Calls visit(column, array) for each column of a set.
template <class Set, class Visit>
void for_each_column(Set& set, const Visit& visit) {
#define MIDIGPT_VISIT(level, type, name) visit(Column<Level::level, type>{#name}, set.name);
  MIDIGPT_SCORE_COLUMNS(MIDIGPT_VISIT)
#undef MIDIGPT_VISIT
}

// Calls visit(column, array, other array) for each column of two sets.
template <class Set, class Other, class Visit>
void for_each_column(Set& set, Other& other, const Visit& visit) {
#define MIDIGPT_VISIT(level, type, name) visit(Column<Level::level, type>{#name}, set.name, other.name);
  MIDIGPT_SCORE_COLUMNS(MIDIGPT_VISIT)
#undef MIDIGPT_VISIT
}

}  // namespace midigpt::score
