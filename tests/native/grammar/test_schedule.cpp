#include "grammar/schedule.h"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace {

using midigpt::grammar::BarControls;
using midigpt::grammar::BarLimits;
using midigpt::grammar::fitting_notes;
using midigpt::grammar::kFree;
using midigpt::grammar::kPitches;
using midigpt::grammar::PitchSet;
using midigpt::grammar::ScheduledNote;

constexpr BarLimits kWide{48, 0, 0, 96, 32, 20, true};

ScheduledNote note(std::int32_t tick, std::int32_t pitch = kFree) { return {tick, pitch, kFree, kFree, kFree}; }

std::vector<ScheduledNote> fitted(std::vector<ScheduledNote> notes, std::initializer_list<std::int32_t> pitches = {},
                                  BarLimits limits = kWide) {
  std::array<std::uint8_t, kPitches> allowed{};
  for (const std::int32_t pitch : pitches) allowed[static_cast<std::size_t>(pitch)] = 1;
  BarControls controls;
  if (pitches.size() > 0) controls.pitches = allowed.data();
  controls.schedule = notes;
  controls.is_scheduled = true;
  return fitting_notes(controls, PitchSet(controls, kPitches), limits);
}

// "tick:pitch", ? for a free pitch.
std::string text(const std::vector<ScheduledNote>& notes) {
  std::string out;
  for (const ScheduledNote& one : notes) {
    if (!out.empty()) out += ' ';
    out += std::to_string(one.tick) + ':' + (one.has_pitch() ? std::to_string(one.pitch) : "?");
  }
  return out;
}

TEST_CASE("notes are sorted by tick; those beyond the bar and above limits are left out") {
  CHECK(text(fitted({note(24), note(0), note(48), note(-1), note(9), note(9)})) == "0:? 9:? 9:? 24:?");
  CHECK(text(fitted({note(0), note(9), note(9), note(24)}, {}, {48, 2, 0, 96, 32, 20, true})) == "0:? 9:?");
  CHECK(text(fitted({note(0), note(9), note(9), note(24)}, {}, {48, 0, 1, 96, 32, 20, true})) == "0:? 9:? 24:?");
  CHECK(text(fitted({note(0, 60), note(0, 64)}, {50})) == "0:?");
  CHECK(fitted({}).empty());
}

TEST_CASE("values that the vocabulary does not have are clamped or free") {
  const auto notes = fitted({{0, 130, 200, 40, -50}, {3, 60, -5, 0, 50}, {6, 60, 7, 31, 0}});
  CHECK(text(notes) == "0:? 3:60 6:60");
  CHECK(notes[0].duration == 95);
  CHECK(notes[0].velocity == kFree);
  CHECK(notes[0].delta == -19);
  CHECK(notes[1].duration == 0);
  CHECK(notes[1].velocity == kFree);
  CHECK(notes[1].delta == 19);
  CHECK(notes[2].duration == 7);
  CHECK(notes[2].velocity == 31);
  const auto drums = fitted({{0, 36, 5, 3, -2}}, {}, {48, 0, 0, 0, 0, 0, false});
  CHECK(drums[0].duration == kFree);
  CHECK(drums[0].velocity == kFree);
  CHECK(drums[0].delta == 0);
}

TEST_CASE("free notes of a chord have room between its prescribed pitches") {
  CHECK(text(fitted({note(0), note(0, 60), note(0), note(0, 64)})) == "0:? 0:60 0:? 0:64");
  // None below 60, one between 60 and 62, the rest above.
  CHECK(text(fitted({note(0), note(0, 60), note(0), note(0), note(0, 62)}, {60, 61, 62, 70, 71})) ==
        "0:60 0:? 0:62 0:? 0:?");
  // No room above 62 either: it becomes free, and there are as many pitches as notes.
  CHECK(text(fitted({note(0), note(0, 60), note(0), note(0, 62)}, {60, 61, 62, 63})) == "0:60 0:? 0:62 0:?");
  CHECK(text(fitted({note(0), note(0), note(0, 62)}, {60, 62, 63})) == "0:? 0:62 0:?");
  CHECK(text(fitted({note(0), note(0), note(0, 63)}, {60, 62, 63})) == "0:? 0:? 0:63");
  CHECK(text(fitted({note(0, 62), note(0), note(0)}, {60, 61, 62})) == "0:? 0:? 0:?");
  // Pitches that do not ascend, or are masked, are free.
  CHECK(text(fitted({note(0, 64), note(0, 60), note(0, 64)})) == "0:64 0:? 0:?");
  CHECK(text(fitted({note(0, 59), note(0, 62)}, {60, 62})) == "0:? 0:62");
}

TEST_CASE("live pitches are those allowed, in the vocabulary, and of a weight above 0") {
  std::array<std::uint8_t, kPitches> allowed{};
  std::array<float, kPitches> weights{};
  for (const std::size_t pitch : {10U, 20U, 30U, 120U}) allowed[pitch] = 1;
  for (const std::size_t pitch : {10U, 30U, 40U, 120U}) weights[pitch] = 0.5F;
  BarControls controls;
  controls.pitches = allowed.data();
  controls.pitch_weights = weights.data();
  const PitchSet pitches(controls, 100);
  CHECK(pitches.end() == 100);
  CHECK(pitches.live(0, 100) == 2);
  CHECK(pitches.live(11, 30) == 0);
  CHECK(pitches.live(30, 10) == 0);
  CHECK(pitches.allows(20));
  CHECK_FALSE(pitches.allows(40));
  CHECK_FALSE(pitches.allows(120));
  CHECK(pitches.highest(1, 100) == 30);
  CHECK(pitches.highest(2, 100) == 10);
  CHECK(pitches.highest(1, 30) == 10);
  CHECK(pitches.highest(3, 100) == -1);
}

}  // namespace
