// A MIDI file with some of its notes taken out and others added: it can be read, and the notes that stay are unchanged.
#include "score/splice_midi.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "fuzz/check.h"
#include "fuzz/targets.h"
#include "midi/errors.h"
#include "score/columns.h"
#include "score/read_batch.h"

namespace midigpt::fuzz {

namespace {

struct Note {
  std::int32_t bar;
  std::int32_t onset;
  std::int32_t duration;
  std::uint8_t pitch;
  std::uint8_t velocity;
  std::int32_t microtiming;

  bool operator==(const Note&) const = default;
};

// A note that rings on where bars are added is measured in more parts, each of them rounded.
bool is_same(Note before, const Note& after, bool adds_bars) {
  if (adds_bars && std::abs(before.duration - after.duration) <= 1) before.duration = after.duration;
  return before == after;
}

using Tracks = std::vector<std::vector<Note>>;

score::BatchResult read_one(Input bytes) {
  const std::array<std::int64_t, 2> offsets{0, static_cast<std::int64_t>(bytes.size())};
  return score::read_batch(bytes, offsets, 1);
}

// The notes of each track of the only piece.
Tracks notes_of(const score::ColumnStore& columns) {
  Tracks tracks(columns.track_program.size());
  std::size_t cell = 0;
  std::size_t note = 0;
  for (std::size_t track = 0; track < tracks.size(); ++track) {
    for (; cell < static_cast<std::size_t>(columns.track_cell_end[track]); ++cell) {
      for (; note < static_cast<std::size_t>(columns.cell_note_end[cell]); ++note) {
        tracks[track].push_back({columns.cell_bar[cell], columns.note_onset[note], columns.note_duration[note],
                                 columns.note_pitch[note], columns.note_velocity[note],
                                 columns.note_microtiming[note]});
      }
    }
  }
  return tracks;
}

// Numbers that the bytes of the input decide, one after another.
class Numbers {
 public:
  explicit Numbers(Input input) {
    for (const std::uint8_t byte : input) state_ = (state_ ^ byte) * 0x100000001B3ULL;
  }
  std::int32_t below(std::int64_t limit) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return limit < 1 ? 0 : static_cast<std::int32_t>((state_ >> 33) % static_cast<std::uint64_t>(limit));
  }

 private:
  std::uint64_t state_ = 0xCBF29CE484222325ULL;
};

// An edit with what its spans point into.
struct OwnedEdit {
  std::vector<std::uint8_t> removed, pitch, velocity, new_program, new_drum;
  std::vector<std::int32_t> track, bar, onset, duration, microtiming, numerator, denominator;

  OwnedEdit(const score::ColumnStore& columns, Numbers& numbers) {
    for (std::size_t note = 0; note < columns.note_pitch.size(); ++note) removed.push_back(numbers.below(4) == 0);
    for (std::int32_t count = numbers.below(3); count > 0; --count) {
      new_program.push_back(static_cast<std::uint8_t>(numbers.below(128)));
      new_drum.push_back(static_cast<std::uint8_t>(numbers.below(2)));
    }
    const auto numerators = columns.bar_numerator.from(0);
    const auto denominators = columns.bar_denominator.from(0);
    numerator.assign(numerators.begin(), numerators.end());
    denominator.assign(denominators.begin(), denominators.end());
    for (std::int32_t count = numbers.below(3); count > 0; --count) {
      numerator.push_back(1 + numbers.below(12));
      denominator.push_back(1 << numbers.below(4));
    }
    const std::size_t tracks = columns.track_program.size() + new_program.size();
    if (tracks == 0 || numerator.empty()) return;
    for (std::int32_t count = numbers.below(40); count > 0; --count) {
      track.push_back(numbers.below(static_cast<std::int64_t>(tracks)));
      bar.push_back(numbers.below(static_cast<std::int64_t>(numerator.size())));
      onset.push_back(numbers.below(4000));
      duration.push_back(numbers.below(4000));
      microtiming.push_back(numbers.below(481) - 240);
      const auto any = static_cast<std::int64_t>(columns.note_pitch.size());
      pitch.push_back(any > 0 ? columns.note_pitch[static_cast<std::size_t>(numbers.below(any))] : std::uint8_t{60});
      velocity.push_back(static_cast<std::uint8_t>(numbers.below(128)));
    }
  }

  [[nodiscard]] score::Edit edit(std::int32_t tempo) const {
    return {.removed = removed,
            .track = track,
            .bar = bar,
            .onset = onset,
            .duration = duration,
            .pitch = pitch,
            .velocity = velocity,
            .microtiming = microtiming,
            .new_program = new_program,
            .new_drum = new_drum,
            .numerator = numerator,
            .denominator = denominator,
            .tempo = tempo};
  }
};

bool has_empty_lyric(Input input) {
  for (std::size_t i = 0; i + 2 < input.size(); ++i) {
    if (input[i] == 0xFF && input[i + 1] == 0x05 && (input[i + 2] & 0x7F) == 0) return true;
  }
  return false;
}

bool is_a_limit(std::uint8_t status) {
  using midi::ReadError;
  const auto error = static_cast<ReadError>(status);
  return error == ReadError::FileTooLarge || error == ReadError::TooManyTracks || error == ReadError::TooManyNotes ||
         error == ReadError::TooManyBars || error == ReadError::TooManyTicks ||
         error == ReadError::TooManyTimeSignatures;
}

}  // namespace

void splice(Input input) {
  const score::BatchResult before = read_one(input);
  if (before.status[0] != 0) return;
  Numbers numbers(input);
  const OwnedEdit owned(before.columns, numbers);
  score::Spliced spliced;
  if (score::splice_midi(input, owned.edit(before.columns.tempo[0]), spliced) != nullptr) return;
  const score::BatchResult after = read_one(spliced.bytes);
  if (after.status[0] != 0) {
    FUZZ_CHECK(is_a_limit(after.status[0]));
    return;
  }
  FUZZ_CHECK(after.columns.tempo[0] == before.columns.tempo[0]);
  const Tracks old_tracks = notes_of(before.columns);
  const Tracks new_tracks = notes_of(after.columns);
  if (new_tracks.size() != old_tracks.size() + owned.new_program.size()) {
    // A lyric without text makes a track only if a controller waits for one, and new notes change which track gets it.
    FUZZ_CHECK(has_empty_lyric(input));
    return;
  }
  const bool adds_bars = owned.numerator.size() > before.columns.bar_length.size();
  std::size_t number = 0;
  std::size_t total = 0;
  std::size_t kept = 0;
  for (std::size_t track = 0; track < old_tracks.size(); ++track) {
    FUZZ_CHECK(after.columns.track_program[track] == before.columns.track_program[track]);
    FUZZ_CHECK(after.columns.track_drum[track] == before.columns.track_drum[track]);
    // What stays is there in its order, with new notes between.
    auto found = new_tracks[track].begin();
    for (const Note& note : old_tracks[track]) {
      if (owned.removed[number++] != 0) continue;
      // Where later notes are gone the piece ends earlier, and a note without length at its end has no bar.
      if (static_cast<std::size_t>(note.bar) >= after.columns.bar_length.size()) continue;
      found = std::find_if(found, new_tracks[track].end(),
                           [&](const Note& other) { return is_same(note, other, adds_bars); });
      FUZZ_CHECK(found != new_tracks[track].end());
      ++found;
      ++kept;
    }
  }
  for (const auto& notes : new_tracks) total += notes.size();
  const auto left_out = static_cast<std::size_t>(spliced.beyond_bar + spliced.after_unclosed);
  // More are read where a note that the end of the piece cut off now has a bar.
  FUZZ_CHECK(total >= kept + owned.track.size() - left_out);
}

}  // namespace midigpt::fuzz
