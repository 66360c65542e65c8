// The reader and the reference reader agree: both refuse a file for the same reason, or every column is the same.
#include <array>
#include <cstdint>

#include "fuzz/check.h"
#include "fuzz/columns_check.h"
#include "fuzz/reference_reader.h"
#include "fuzz/targets.h"
#include "score/read_batch.h"

namespace midigpt::fuzz {

namespace {

using score::Columns;
using score::PieceView;
using score::Run;

void compare_bars(const Columns& columns, const std::vector<reference::Bar>& bars) {
  FUZZ_CHECK(columns.bar_offsets[1] == static_cast<std::int64_t>(bars.size()));
  for (std::size_t bar = 0; bar < bars.size(); ++bar) {
    FUZZ_CHECK(columns.bar_numerator[bar] == bars[bar].numerator);
    FUZZ_CHECK(columns.bar_denominator[bar] == bars[bar].denominator);
    FUZZ_CHECK(columns.bar_length[bar] == bars[bar].quarters);
  }
}

void compare_notes(const PieceView& piece, std::int64_t track, const std::vector<reference::Note>& notes) {
  const Columns& columns = piece.columns();
  const Run cells = piece.cells(track);
  std::size_t next = 0;
  for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
    const Run run = piece.notes(cell);
    for (std::int64_t note = run.begin; note < run.end; ++note, ++next) {
      FUZZ_CHECK(next < notes.size());
      FUZZ_CHECK(columns.cell_bar[cell] == notes[next].bar);
      FUZZ_CHECK(columns.note_onset[note] == notes[next].onset);
      FUZZ_CHECK(columns.note_duration[note] == notes[next].duration);
      FUZZ_CHECK(columns.note_pitch[note] == notes[next].pitch);
      FUZZ_CHECK(columns.note_velocity[note] == notes[next].velocity);
      FUZZ_CHECK(columns.note_microtiming[note] == notes[next].microtiming);
    }
  }
  FUZZ_CHECK(next == notes.size());
}

}  // namespace

void differential(Input input) {
  const std::array<std::int64_t, 2> offsets{0, static_cast<std::int64_t>(input.size())};
  const score::BatchResult read = score::read_batch(input, offsets, 1);
  const reference::Score expected = reference::read(input);
  FUZZ_CHECK(static_cast<midi::ReadError>(read.status[0]) == expected.error);
  if (expected.error != midi::ReadError::None) return;
  const Columns columns = view(read.columns);
  FUZZ_CHECK(columns.tempo[0] == expected.tempo);
  compare_bars(columns, expected.bars);
  const PieceView piece(columns, 0);
  FUZZ_CHECK(piece.num_tracks() == static_cast<std::int64_t>(expected.tracks.size()));
  for (std::size_t track = 0; track < expected.tracks.size(); ++track) {
    FUZZ_CHECK(columns.track_program[track] == expected.tracks[track].program);
    FUZZ_CHECK((columns.track_drum[track] != 0) == expected.tracks[track].drum);
    compare_notes(piece, static_cast<std::int64_t>(track), expected.tracks[track].notes);
  }
}

}  // namespace midigpt::fuzz
