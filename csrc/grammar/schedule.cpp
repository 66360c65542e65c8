#include "grammar/schedule.h"

#include <algorithm>

namespace midigpt::grammar {

namespace {

// Values that the vocabulary does not have: the nearest one, or free.
ScheduledNote clamped(ScheduledNote note, const PitchSet& pitches, const BarLimits& limits) {
  if (note.has_pitch() &&
      (note.pitch < 0 || note.pitch >= pitches.end() || pitches.live(note.pitch, note.pitch + 1) == 0)) {
    note.pitch = kFree;
  }
  if (note.duration != kFree) {
    note.duration = limits.durations > 0 ? std::clamp(note.duration, 0, limits.durations - 1) : kFree;
  }
  if (note.velocity < 1 || note.velocity >= limits.velocities) note.velocity = kFree;
  if (note.delta != kFree) {
    const std::int32_t largest = std::max(limits.deltas - 1, 0);
    note.delta = std::clamp(note.delta, limits.negative_deltas ? -largest : 0, largest);
  }
  return note;
}

// Adds one chord of at most as many notes as there are live pitches, see fitting_notes.
void add_chord(std::span<const ScheduledNote> chord, const PitchSet& pitches, std::vector<ScheduledNote>& out) {
  const std::size_t first = out.size();
  std::vector<ScheduledNote> between;  // free notes since the last prescribed pitch
  std::vector<ScheduledNote> above;    // free notes for which there is no room there
  std::int32_t last = -1;
  for (const ScheduledNote& note : chord) {
    if (!note.has_pitch() || note.pitch <= last) {
      between.push_back(note);
      between.back().pitch = kFree;
      continue;
    }
    const auto room = static_cast<std::size_t>(pitches.live(last + 1, note.pitch));
    const auto fit = between.begin() + static_cast<std::ptrdiff_t>(std::min(room, between.size()));
    out.insert(out.end(), between.begin(), fit);
    above.insert(above.end(), fit, between.end());
    between.clear();
    out.push_back(note);
    last = note.pitch;
  }
  above.insert(above.begin(), between.begin(), between.end());
  // Where there is still no room, the highest prescribed pitches become free.
  while (static_cast<std::size_t>(pitches.live(last + 1, pitches.end())) < above.size() && last >= 0) {
    do {
      above.insert(above.begin(), out.back());
      out.pop_back();
    } while (!above.front().has_pitch());
    above.front().pitch = kFree;
    last = -1;
    for (std::size_t i = first; i < out.size(); ++i) last = std::max(last, out[i].has_pitch() ? out[i].pitch : -1);
    // Those below the freed one, back to the next prescribed pitch, can take the new room as well.
    while (out.size() > first && !out.back().has_pitch()) {
      above.insert(above.begin(), out.back());
      out.pop_back();
    }
  }
  out.insert(out.end(), above.begin(), above.end());
}

}  // namespace

PitchSet::PitchSet(const BarControls& controls, std::int32_t end) : end_(std::clamp(end, 0, kPitches)) {
  for (std::int32_t pitch = 0; pitch < kPitches; ++pitch) {
    const auto index = static_cast<std::size_t>(pitch);
    allowed_[index] = pitch < end_ && (controls.pitches == nullptr || controls.pitches[index] != 0);
    const bool live = allowed_[index] && (controls.pitch_weights == nullptr || controls.pitch_weights[index] > 0);
    below_[index + 1] = below_[index] + (live ? 1 : 0);
  }
}

std::int32_t PitchSet::highest(std::int32_t n, std::int32_t end) const {
  for (std::int32_t pitch = end - 1; pitch >= 0; --pitch) {
    n -= live(pitch, pitch + 1);
    if (n == 0) return pitch;
  }
  return -1;
}

std::vector<ScheduledNote> fitting_notes(const BarControls& controls, const PitchSet& pitches,
                                         const BarLimits& limits) {
  std::vector<ScheduledNote> notes(controls.schedule.begin(), controls.schedule.end());
  std::stable_sort(notes.begin(), notes.end(),
                   [](const ScheduledNote& a, const ScheduledNote& b) { return a.tick < b.tick; });
  std::vector<ScheduledNote> out;
  std::vector<ScheduledNote> chord;
  const std::int32_t live = pitches.live(0, pitches.end());
  const auto most = static_cast<std::size_t>(limits.max_polyphony > 0 ? std::min(limits.max_polyphony, live) : live);
  for (auto begin = notes.begin(); begin != notes.end();) {
    const std::int32_t tick = begin->tick;
    const auto end = std::find_if(begin, notes.end(), [tick](const ScheduledNote& note) { return note.tick != tick; });
    if (tick >= 0 && tick < limits.positions) {
      chord.clear();
      std::size_t count = std::min(most, static_cast<std::size_t>(end - begin));
      if (limits.max_notes > 0) count = std::min(count, static_cast<std::size_t>(limits.max_notes) - out.size());
      for (auto note = begin; chord.size() < count; ++note) chord.push_back(clamped(*note, pitches, limits));
      add_chord(chord, pitches, out);
    }
    begin = end;
  }
  return out;
}

}  // namespace midigpt::grammar
