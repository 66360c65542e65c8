// Tokens to a score (docs/encoder-specification.md, F.1 to F.3).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "score/owned_columns.h"
#include "vocab/codebook.h"

namespace midigpt::decode {

using Attribute = std::pair<std::string, std::int32_t>;

// One piece in which every track has bars of its own.
struct DecodedScore : score::OwnedColumns {
  std::vector<std::vector<Attribute>> track_attributes;  // in the order of their tokens, later ones win
};

struct DecodeResult {
  DecodedScore score;
  std::string error;  // empty: none
};

// An infill document with each fill block in the place of its placeholder (F.1); other documents unchanged. Every id
// must be in the vocabulary. Nothing if fill blocks without an end would make the document too long.
std::optional<std::vector<std::int32_t>> resolve_infill(const vocab::Codebook& book,
                                                        std::span<const std::int32_t> tokens);

// The score that `tokens` say, at decode_resolution; without `resample`, positions and durations stay on the encoder's
// grid. Damaged sequences decode too; a foreign id is an error that names its position.
DecodeResult decode(const vocab::Codebook& book, std::span<const std::int32_t> tokens, bool resample);

}  // namespace midigpt::decode
