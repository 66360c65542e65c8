// An encoder's configuration as plain values (docs/encoder-specification.md, B.1). Python reads and checks the JSON;
// what memory safety depends on is checked again by Codebook::build.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "vocab/attribute_controls.h"
#include "vocab/token_types.h"

namespace midigpt::vocab {

struct TimeSignature {
  std::int32_t numerator = 4;
  std::int32_t denominator = 4;
};

struct Domain {
  TokenType type = TokenType::None;
  std::int32_t size = 0;
};

// Ten ascending note counts for each of the 128 programs and, last, for drums.
using DensityEdges = std::array<std::array<std::int32_t, 10>, 129>;

struct Settings {
  std::int32_t resolution = 480;
  std::int32_t decode_resolution = 480;
  bool emit_delta_tokens = false;
  // Onsets go to the nearest position and deltas have a sign; else they go down, as the released models learnt it.
  bool signed_deltas = false;
  bool supports_infill = false;
  // The tokens of a fill block count on from the position of the placeholder that it fills.
  bool placeholder_positions = false;
  bool supports_mask_bar_token = false;
  bool velocity_sticky = true;
  bool switchable_velocity = false;
  bool switchable_microtiming = false;
  std::int32_t pitch_min = 0;
  std::int32_t pitch_max = 127;
  std::int32_t velocity_levels = 32;
  std::int32_t note_duration_max_beats = 8;
  std::int32_t num_genres = 0;
  std::vector<TimeSignature> time_signatures;
  std::vector<std::vector<std::int32_t>> instrument_merge_groups;
  std::vector<std::int32_t> num_bars_map;
  std::vector<AttributeControl> attribute_controls;
  std::vector<Domain> token_domains;  // empty: derived
  // Their tokens follow those of all other settings, in this order.
  std::vector<ExternalAttribute> external_attributes;
  DensityEdges density_edges{};
};

}  // namespace midigpt::vocab
