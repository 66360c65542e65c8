// Attribute values of a window (docs/encoder-specification.md, E): one int16 per control for every track and every bar.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "encode/window.h"
#include "vocab/codebook.h"

namespace midigpt::encode {

// Values of the tracks of a window, [track][1 + bar][control], index 0 of the second axis for the track itself;
// -1 where a control says nothing.
class AttributeValues {
 public:
  void reset(std::size_t tracks, std::size_t bars, std::size_t controls) {
    rows_ = bars + 1;
    controls_ = controls;
    values_.assign(tracks * rows_ * controls, -1);
  }
  [[nodiscard]] std::int16_t& at(std::size_t track, std::size_t row, std::size_t control) {
    return values_[(track * rows_ + row) * controls_ + control];
  }
  [[nodiscard]] std::int16_t at(std::size_t track, std::size_t row, std::size_t control) const {
    return values_[(track * rows_ + row) * controls_ + control];
  }

 private:
  std::size_t rows_ = 1;
  std::size_t controls_ = 0;
  std::vector<std::int16_t> values_;
};

class AttributeComputer {
 public:
  explicit AttributeComputer(const vocab::Codebook& book);

  // Fills `out` for all tracks of `window`, in their order.
  void compute(const LoadedWindow& window, AttributeValues& out);

 private:
  // How many ticks (or notes) have each small value: enough for any quantile of them.
  using Histogram = std::array<std::int64_t, 11>;
  struct TrackFacts;

  void gather(const LoadedWindow& window, const Track& track, TrackFacts& facts);
  [[nodiscard]] std::int32_t track_value(const vocab::AttributeControl& control, const TrackFacts& facts) const;
  [[nodiscard]] std::int32_t bar_value(const vocab::AttributeControl& control, const Track& track, const Bar& bar,
                                       std::span<const Note> notes);
  [[nodiscard]] std::int32_t density_bin(const Track& track, std::int64_t count) const;
  [[nodiscard]] std::int32_t duration_level(const Track& track, std::int32_t duration) const;
  [[nodiscard]] std::int32_t nomml(const LoadedWindow& window, const Track& track) const;
  [[nodiscard]] std::int32_t silence(const LoadedWindow& window, const Track& track) const;
  [[nodiscard]] std::int32_t corrected_silence(const LoadedWindow& window, const Track& track);
  [[nodiscard]] std::int64_t bar_ticks(const Bar& bar) const;
  Histogram polyphony(std::int64_t roll_length);

  const vocab::Codebook& book_;
  // Which facts the configured controls need.
  bool needs_polyphony_ = false;
  bool needs_durations_ = false;
  bool needs_onset_groups_ = false;
  bool needs_pitches_ = false;
  bool needs_key_ = false;
  bool needs_silence_ = false;
  bool needs_corrected_silence_ = false;
  bool needs_nomml_ = false;
  std::vector<std::int64_t> starts_;
  std::vector<std::int64_t> ends_;
  std::vector<std::pair<std::int64_t, std::int64_t>> sounding_;  // start and end of notes in ticks of the window
  std::int32_t key_ = 24;
};

}  // namespace midigpt::encode
