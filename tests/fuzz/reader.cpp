// A MIDI file, alone and after a cut copy of itself, to columns that keep their promises.
#include <array>
#include <cstdint>
#include <vector>

#include "fuzz/check.h"
#include "fuzz/columns_check.h"
#include "fuzz/targets.h"
#include "midi/errors.h"
#include "score/read_batch.h"
#include "score/write_midi.h"

namespace midigpt::fuzz {

namespace {

void check_outcomes(const score::BatchResult& result, Input data, std::span<const std::int64_t> offsets) {
  FUZZ_CHECK(offsets[offsets.size() - 1] == static_cast<std::int64_t>(data.size()));
  FUZZ_CHECK(result.status.size() == offsets.size() - 1);
  FUZZ_CHECK(result.error_offset.size() == offsets.size() - 1);
  for (std::size_t file = 0; file + 1 < offsets.size(); ++file) {
    FUZZ_CHECK(result.status[file] < midi::kReadErrors.size());
    FUZZ_CHECK(result.error_offset[file] >= midi::kNoOffset);
    FUZZ_CHECK(result.error_offset[file] <= offsets[file + 1] - offsets[file]);
    const bool failed = result.status[file] != 0;
    FUZZ_CHECK(failed || result.error_offset[file] == midi::kNoOffset);
    FUZZ_CHECK(!failed || result.columns.track_offsets[file] == result.columns.track_offsets[file + 1]);
  }
  check_columns(result.columns, offsets.size() - 1);
}

}  // namespace

void reader(Input input) {
  const auto size = static_cast<std::int64_t>(input.size());
  const std::array<std::int64_t, 2> alone{0, size};
  const score::BatchResult one = score::read_batch(input, alone, 1);
  check_outcomes(one, input, alone);

  // The last byte decides where the first copy ends; scratch memory of one file must not show in the next.
  const std::size_t cut = input.empty() ? 0 : input.back() % input.size();
  std::vector<std::uint8_t> batch(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(cut));
  batch.insert(batch.end(), input.begin(), input.end());
  batch.shrink_to_fit();
  const auto end_of_cut = static_cast<std::int64_t>(cut);
  const std::array<std::int64_t, 3> both{0, end_of_cut, end_of_cut + size};
  const score::BatchResult two = score::read_batch(batch, both, 1);
  check_outcomes(two, batch, both);
  FUZZ_CHECK(two.status[1] == one.status[0] && two.error_offset[1] == one.error_offset[0]);
  const auto notes = static_cast<std::size_t>(two.columns.note_offsets[1]);
  FUZZ_CHECK(two.columns.note_pitch.size() - notes == one.columns.note_pitch.size());
  for (std::size_t note = 0; note < one.columns.note_pitch.size(); ++note) {
    FUZZ_CHECK(two.columns.note_onset[notes + note] == one.columns.note_onset[note]);
    FUZZ_CHECK(two.columns.note_duration[notes + note] == one.columns.note_duration[note]);
  }
}

}  // namespace midigpt::fuzz
