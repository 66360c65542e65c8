#include "encode/attributes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "vocab/quantisers.h"

namespace midigpt::encode {

namespace {

using vocab::AttributeControl;
using vocab::Control;
using vocab::Level;
using vocab::MetricalDepth;
using vocab::Mode;

constexpr double kLowQuantile = 0.15;
constexpr double kHighQuantile = 0.85;
constexpr std::int32_t kDrumRow = 128;
constexpr std::int32_t kNoKey = 24;
constexpr std::int32_t kLargestValue = std::numeric_limits<std::int16_t>::max();
// A bar longer than this many ticks is no music; 2^31 such bars, more than a window can have, sum up to less than 2^63.
constexpr double kLongestBar = 1e9;

// Key profiles of Krumhansl and Kessler, major then minor, in this order of summation: tokens depend on the rounding.
constexpr std::array<double, 12> kMajor{6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88};
constexpr std::array<double, 12> kMinor{6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17};

// Sorted values at index min(round_even(n * q), n - 1), from their histogram; -1 of an empty one.
template <class Counts>
std::int32_t quantile(const Counts& histogram, double q) {
  std::int64_t total = 0;
  for (const std::int64_t count : histogram) total += count;
  if (total == 0) return -1;
  const std::int64_t index = std::min(vocab::round_even(static_cast<double>(total) * q), total - 1);
  std::int64_t seen = 0;
  std::int32_t value = 0;
  for (const std::int64_t count : histogram) {
    seen += count;
    if (seen > index) return value;
    ++value;
  }
  return value - 1;
}

double quantile_of(Mode mode) { return mode == Mode::Min ? kLowQuantile : kHighQuantile; }

// The polyphony value from a histogram of sounding notes per tick, 1..10 (docs/encoder-specification.md, E.2, 3).
template <class Counts>
std::int32_t polyphony_value(const Counts& histogram, Mode mode) {
  return std::max(quantile(histogram, quantile_of(mode)) - 1, 0);
}

std::int32_t key_signature(const LoadedWindow& window) {
  std::array<double, 12> weight{};
  for (const Track& track : window.tracks()) {
    for (const Note& note : window.notes(track)) {
      if (note.velocity > 0) weight[note.pitch % 12] += note.duration;
    }
  }
  if (std::all_of(weight.begin(), weight.end(), [](double w) { return w == 0; })) return kNoKey;
  std::int32_t best = 0;
  double best_score = -std::numeric_limits<double>::infinity();
  for (std::int32_t key = 0; key < kNoKey; ++key) {
    const std::array<double, 12>& profile = key < 12 ? kMajor : kMinor;
    double score = 0;
    for (std::int32_t pc = 0; pc < 12; ++pc) {
      const std::int32_t degree = (pc - key % 12 + 12) % 12;
      score += profile[static_cast<std::size_t>(degree)] * weight[static_cast<std::size_t>(pc)];
    }
    if (score > best_score) {
      best_score = score;
      best = key;
    }
  }
  return best;
}

std::int32_t largest_onset_group(std::span<const Note> notes) {
  std::int32_t largest = 0;
  std::int32_t size = 0;
  for (std::size_t i = 0; i < notes.size(); ++i) {
    size = i > 0 && notes[i].onset == notes[i - 1].onset ? size + 1 : 1;
    largest = std::max(largest, size);
  }
  return largest;
}

std::int32_t distinct_pitch_classes(std::span<const Note> notes) {
  std::uint32_t seen = 0;
  for (const Note& note : notes) seen |= 1U << (note.pitch % 12);
  return static_cast<std::int32_t>(std::popcount(seen));
}

// Share of a bar's ticks that no note covers, with the onsets moved back by `offset` (E.2, 8).
double silent_share(std::span<const Note> notes, std::int64_t ticks, std::int64_t offset) {
  if (ticks == 0) return 0.0;
  std::int64_t covered = 0;
  std::int64_t covered_to = 0;
  for (const Note& note : notes) {
    const std::int64_t begin = std::max(note.onset - offset, covered_to);
    const std::int64_t end = std::min(note.onset - offset + note.duration, ticks);
    if (end <= begin) continue;
    covered += end - begin;
    covered_to = end;
  }
  return static_cast<double>(ticks - covered) / static_cast<double>(ticks);
}

}  // namespace

struct AttributeComputer::TrackFacts {
  const Track* track = nullptr;
  std::int64_t notes = 0;
  std::int64_t bars = 0;
  std::int64_t bars_with_notes = 0;
  Histogram polyphony{};
  std::array<std::int64_t, 6> durations{};
  std::int32_t onset_polyphony = 0;
  std::int32_t pitch_range = 0;
  std::int32_t silence = 0;
  std::int32_t corrected_silence = 0;
  std::int32_t nomml = MetricalDepth::kNone;
};

AttributeComputer::AttributeComputer(const vocab::Codebook& book) : book_(book) {
  for (const AttributeControl& control : book.controls()) {
    const bool track = control.level == Level::Track;
    needs_polyphony_ |= track && control.control == Control::PolyphonyQuantile;
    needs_corrected_silence_ |= control.control == Control::SilenceProportionCorrected;
    needs_durations_ |= control.control == Control::NoteDurationQuantile;
    needs_onset_groups_ |= control.control == Control::OnsetPolyphony;
    needs_pitches_ |= control.control == Control::PitchRange;
    needs_key_ |= control.control == Control::KeySignature;
    needs_silence_ |= control.control == Control::SilenceProportion;
    needs_nomml_ |= control.control == Control::Nomml;
  }
}

void AttributeComputer::compute(const LoadedWindow& window, AttributeValues& out) {
  const std::span<const AttributeControl> controls = book_.controls();
  if (needs_key_) key_ = key_signature(window);
  for (std::size_t t = 0; t < window.tracks().size(); ++t) {
    const Track& track = window.tracks()[t];
    TrackFacts facts;
    gather(window, track, facts);
    for (std::size_t k = 0; k < controls.size(); ++k) {
      if (!controls[k].applies_to(track.drum)) continue;
      if (controls[k].level == Level::Track) {
        out.at(t, 0, k) = static_cast<std::int16_t>(track_value(controls[k], facts));
        continue;
      }
      const std::span<const Bar> bars = window.bars(track);
      for (std::size_t bar = 0; bar < bars.size(); ++bar) {
        const std::int32_t value = bar_value(controls[k], track, bars[bar], window.notes(track, bar));
        out.at(t, 1 + bar, k) = static_cast<std::int16_t>(value);
      }
    }
  }
}

void AttributeComputer::gather(const LoadedWindow& window, const Track& track, TrackFacts& facts) {
  const std::span<const Bar> bars = window.bars(track);
  facts.track = &track;
  facts.bars = static_cast<std::int64_t>(bars.size());
  starts_.clear();
  ends_.clear();
  std::int64_t bar_start = 0;
  std::int64_t last_end = 0;
  std::int32_t lowest = 127;
  std::int32_t highest = 0;
  for (std::size_t bar = 0; bar < bars.size(); ++bar) {
    const std::span<const Note> notes = window.notes(track, bar);
    facts.notes += static_cast<std::int64_t>(notes.size());
    facts.bars_with_notes += !notes.empty();
    if (needs_polyphony_) {
      for (const Note& note : notes) {
        starts_.push_back(bar_start + note.onset);
        ends_.push_back(bar_start + note.onset + note.duration);
        last_end = std::max(last_end, ends_.back());
      }
      bar_start += bar_ticks(bars[bar]);
    }
    if (needs_durations_) {
      for (const Note& note : notes) {
        ++facts.durations[static_cast<std::size_t>(duration_level(track, note.duration))];
      }
    }
    if (needs_onset_groups_) facts.onset_polyphony = std::max(facts.onset_polyphony, largest_onset_group(notes));
    if (needs_pitches_) {
      for (const Note& note : notes) {
        lowest = std::min<std::int32_t>(lowest, note.pitch);
        highest = std::max<std::int32_t>(highest, note.pitch);
      }
    }
  }
  if (needs_polyphony_) facts.polyphony = polyphony(last_end);
  if (facts.notes > 0) facts.pitch_range = highest - lowest;
  if (needs_silence_) facts.silence = silence(window, track);
  if (needs_corrected_silence_) facts.corrected_silence = corrected_silence(window, track);
  if (needs_nomml_) facts.nomml = nomml(window, track);
}

std::int32_t AttributeComputer::track_value(const AttributeControl& control, const TrackFacts& facts) const {
  switch (control.control) {
    case Control::NoteDensity:
      return facts.bars == 0 ? 0 : static_cast<std::int32_t>(std::min<std::int64_t>(facts.notes / facts.bars, 127));
    case Control::NoteDensityQuantile: {
      if (facts.bars_with_notes == 0) return density_bin(*facts.track, 0);
      const double mean = static_cast<double>(facts.notes) / static_cast<double>(facts.bars_with_notes);
      return density_bin(*facts.track, vocab::round_even(mean));
    }
    case Control::PolyphonyQuantile: return polyphony_value(facts.polyphony, control.mode);
    case Control::NoteDurationQuantile: return std::max(quantile(facts.durations, quantile_of(control.mode)), 0);
    case Control::OnsetPolyphony: return std::min(facts.onset_polyphony, kLargestValue);
    case Control::PitchRange: return facts.pitch_range;
    case Control::KeySignature: return key_;
    case Control::SilenceProportion: return facts.silence;
    case Control::SilenceProportionCorrected: return facts.corrected_silence;
    case Control::NoteDurationDist: return facts.track->duration_mode;
    case Control::Nomml: return facts.nomml;
    case Control::NommlFine: return facts.track->fine_nomml;
    case Control::PitchClassSet:
    case Control::PitchClassCount:
    case Control::Tension:
    case Control::TensionDrum:      // bar controls
    case Control::External: break;  // computed by a plugin
  }
  return -1;
}

std::int32_t AttributeComputer::bar_value(const AttributeControl& control, const Track& track, const Bar& bar,
                                          std::span<const Note> notes) {
  switch (control.control) {
    case Control::NoteDensityQuantile: return density_bin(track, static_cast<std::int64_t>(notes.size()));
    case Control::PolyphonyQuantile: {
      starts_.clear();
      ends_.clear();
      for (const Note& note : notes) {
        starts_.push_back(note.onset);
        ends_.push_back(std::int64_t{note.onset} + note.duration);
      }
      return polyphony_value(polyphony(bar_ticks(bar)), control.mode);
    }
    case Control::PitchClassSet:
    case Control::PitchClassCount: return distinct_pitch_classes(notes);
    // The bin of tension 0.0. No released model uses these two; 98.5 % and 100 % of bars have this value (E.2, 12).
    case Control::Tension:
    case Control::TensionDrum: return 5;
    default: return -1;  // track controls
  }
}

std::int32_t AttributeComputer::density_bin(const Track& track, std::int64_t count) const {
  const std::int32_t row = track.drum ? kDrumRow : track.program < 128 ? track.program : 0;
  const auto& edges = book_.settings().density_edges[static_cast<std::size_t>(row)];
  for (std::size_t bin = 0; bin < 9; ++bin) {
    if (count <= edges[bin]) return static_cast<std::int32_t>(bin);
  }
  return 9;
}

std::int32_t AttributeComputer::duration_level(const Track& track, std::int32_t duration) const {
  if (track.drum) return 3;  // a drum hit counts as a quarter note
  return book_.duration_levels().level(duration);
}

std::int64_t AttributeComputer::bar_ticks(const Bar& bar) const {
  return vocab::round_even(std::clamp(bar.length * book_.settings().resolution, 0.0, kLongestBar));
}

std::int32_t AttributeComputer::nomml(const LoadedWindow& window, const Track& track) const {
  if (track.nomml >= 0) return std::min(track.nomml, MetricalDepth::kNone);
  vocab::MedianDepth depth;
  for (const Note& note : window.notes(track)) depth.add(book_.metrical_depth().depth(note.onset));
  return depth.value();
}

std::int32_t AttributeComputer::silence(const LoadedWindow& window, const Track& track) const {
  const std::span<const Bar> bars = window.bars(track);
  double sum = 0;
  std::int64_t counted = 0;
  std::int64_t offset = 0;
  for (std::size_t bar = 0; bar < bars.size(); ++bar) {
    const vocab::TimeSignature& signature = bars[bar].signature;
    if (signature.denominator < 1 || signature.numerator < 1) continue;
    const double length = signature.numerator * (book_.settings().resolution * 4.0 / signature.denominator);
    const auto ticks = static_cast<std::int64_t>(std::min(length, kLongestBar));
    if (ticks == 0) continue;
    // Onsets count from the bar already, so from the second bar on this moves them out of it and almost every bar
    // is silent. The released models learnt this value under this name.
    sum += silent_share(window.notes(track, bar), ticks, offset);
    ++counted;
    offset += ticks;
  }
  if (counted == 0) return 0;
  return std::clamp(static_cast<std::int32_t>(10.0 * (sum / static_cast<double>(counted))), 0, 9);
}

// The share of the window's ticks in which no note of the track sounds, those that ring on from earlier bars included.
std::int32_t AttributeComputer::corrected_silence(const LoadedWindow& window, const Track& track) {
  const std::span<const Bar> bars = window.bars(track);
  sounding_.clear();
  std::int64_t total = 0;
  for (std::size_t bar = 0; bar < bars.size(); ++bar) {
    for (const Note& note : window.notes(track, bar)) {
      const std::int64_t start = total + note.onset;
      sounding_.emplace_back(start, start + note.duration);
    }
    total += bar_ticks(bars[bar]);
  }
  if (total == 0) return 0;
  if (!std::is_sorted(sounding_.begin(), sounding_.end())) std::sort(sounding_.begin(), sounding_.end());
  std::int64_t silent = 0;
  std::int64_t heard_to = 0;
  for (const auto& [start, end] : sounding_) {
    silent += std::max<std::int64_t>(0, std::min(start, total) - heard_to);
    heard_to = std::max(heard_to, std::min(end, total));
  }
  silent += total - heard_to;
  return std::min(static_cast<std::int32_t>(10.0 * static_cast<double>(silent) / static_cast<double>(total)), 9);
}

// How many ticks of a roll of `roll_length` ticks have 1, 2, … 10 or more notes, from starts_ and ends_. The last tick
// of a roll never counts. A sweep over sorted ends: it costs the same for a note of any length.
AttributeComputer::Histogram AttributeComputer::polyphony(std::int64_t roll_length) {
  Histogram histogram{};
  std::size_t kept = 0;
  for (std::size_t i = 0; i < starts_.size(); ++i) {
    const std::int64_t end = std::min(ends_[i], roll_length - 1);
    if (end <= starts_[i]) continue;
    starts_[kept] = starts_[i];
    ends_[kept++] = end;
  }
  starts_.resize(kept);
  ends_.resize(kept);
  if (!std::is_sorted(starts_.begin(), starts_.end())) std::sort(starts_.begin(), starts_.end());
  std::sort(ends_.begin(), ends_.end());
  std::int64_t tick = 0;
  std::size_t started = 0;
  for (std::size_t ended = 0; ended < kept;) {
    const bool starts_next = started < kept && starts_[started] < ends_[ended];
    const std::int64_t next = starts_next ? starts_[started] : ends_[ended];
    histogram[std::min<std::size_t>(started - ended, 10)] += next - tick;
    tick = next;
    ++(starts_next ? started : ended);
  }
  histogram[0] = 0;  // ticks without a note do not count
  return histogram;
}

}  // namespace midigpt::encode
