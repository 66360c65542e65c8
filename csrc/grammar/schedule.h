// What a request prescribes for the notes of a bar: which pitches, how likely each is, and which notes at which ticks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace midigpt::grammar {

inline constexpr std::int32_t kPitches = 128;
// In a scheduled note: the model chooses this value.
inline constexpr std::int32_t kFree = std::numeric_limits<std::int32_t>::min();

// A note that is written at `tick`; each other value is prescribed or kFree.
struct ScheduledNote {
  std::int32_t tick = 0;
  std::int32_t pitch = kFree;
  std::int32_t duration = kFree;  // value of NoteDuration
  std::int32_t velocity = kFree;  // value of VelocityLevel
  std::int32_t delta = kFree;     // signed; 0: none is written

  [[nodiscard]] bool has_pitch() const { return pitch != kFree; }
};

// The controls of one bar. The arrays belong to the caller.
struct BarControls {
  const std::uint8_t* pitches = nullptr;    // [kPitches], nonzero: may be written; null: all
  const float* pitch_weights = nullptr;     // [kPitches]; null: all 1
  std::span<const float> position_weights;  // by position, 1 beyond the last; empty: all 1
  std::span<const ScheduledNote> schedule;  // by tick
  bool is_scheduled = false;                // whether exactly the notes of `schedule` are written
};

// The pitches of one bar. *Live* ones may be written and have a weight above 0.
class PitchSet {
 public:
  // Pitches from `end` on are outside the vocabulary.
  PitchSet(const BarControls& controls, std::int32_t end);
  PitchSet() : PitchSet(BarControls{}, kPitches) {}

  [[nodiscard]] bool allows(std::int32_t pitch) const { return allowed_[static_cast<std::size_t>(pitch)]; }
  // How many live pitches lie in [first, end).
  [[nodiscard]] std::int32_t live(std::int32_t first, std::int32_t end) const {
    return first < end ? below_[static_cast<std::size_t>(end)] - below_[static_cast<std::size_t>(first)] : 0;
  }
  // The n-th highest live pitch below `end`, n from 1; -1: there are fewer.
  [[nodiscard]] std::int32_t highest(std::int32_t n, std::int32_t end) const;
  [[nodiscard]] std::int32_t end() const { return end_; }

 private:
  std::int32_t end_;
  std::array<bool, kPitches> allowed_{};
  std::array<std::int32_t, kPitches + 1> below_{};  // live pitches below each
};

// What a bar can contain.
struct BarLimits {
  std::int32_t positions = 0;  // ticks before this one
  std::int32_t max_notes = 0;  // 0: no limit
  std::int32_t max_polyphony = 0;
  std::int32_t durations = 0;   // values, 0: none is written
  std::int32_t velocities = 0;  // values
  std::int32_t deltas = 0;      // values
  bool negative_deltas = false;
};

// The notes of `controls.schedule` that the bar can contain, by tick and ascending pitch. Limits cut chords from the
// top, and the bar from its end. A prescribed pitch that is not allowed becomes free. Between two prescribed pitches of
// a chord there are no more free notes than live pitches: the others move above the last prescribed one.
std::vector<ScheduledNote> fitting_notes(const BarControls& controls, const PitchSet& pitches, const BarLimits& limits);

}  // namespace midigpt::grammar
