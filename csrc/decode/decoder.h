// Tokens to a score (docs/encoder-specification.md, F.1 to F.3).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vocab/codebook.h"

namespace midigpt::decode {

using Attribute = std::pair<std::string, std::int32_t>;

// The columns of one piece (records.ScoreColumns); every track has bars of its own.
struct DecodedScore {
  std::int32_t resolution = 480;
  std::vector<std::uint8_t> track_program;
  std::vector<std::uint8_t> track_drum;
  std::vector<std::int32_t> track_cell_end;
  std::vector<std::int32_t> track_bar_end;
  std::vector<std::int32_t> bar_numerator;
  std::vector<std::int32_t> bar_denominator;
  std::vector<double> bar_length;
  std::vector<std::int32_t> cell_bar;
  std::vector<std::int32_t> cell_note_end;
  std::vector<std::int32_t> note_onset;
  std::vector<std::int32_t> note_duration;
  std::vector<std::uint8_t> note_pitch;
  std::vector<std::uint8_t> note_velocity;
  std::vector<std::int32_t> note_microtiming;
  std::vector<std::vector<Attribute>> track_attributes;  // in the order of their tokens, later ones win
};

struct DecodeResult {
  DecodedScore score;
  std::string error;  // empty: none
};

// The blocks of an infill document put where their placeholders stand (F.1); other documents come back unchanged.
// Every id must be in the vocabulary. Nothing if blocks without an end would blow up the document.
std::optional<std::vector<std::int32_t>> resolve_infill(const vocab::Codebook& book,
                                                        std::span<const std::int32_t> tokens);

// The score that `tokens` say, at decode_resolution; without `resample`, positions and durations stay on the encoder's
// grid. Damaged sequences decode too; a foreign id is an error that names its position.
DecodeResult decode(const vocab::Codebook& book, std::span<const std::int32_t> tokens, bool resample);

}  // namespace midigpt::decode
