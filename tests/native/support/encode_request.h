// Requests to encode one piece, made by hand.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "encode/encoder.h"
#include "support/one_piece.h"
#include "support/owned_windows.h"
#include "vocab/codebook.h"

namespace midigpt::tests {

// Twelve ticks per quarter, 4/4 and 3/4, everything that can be switched on.
inline vocab::Settings rich_settings() {
  vocab::Settings out;
  out.resolution = 12;
  out.decode_resolution = 480;
  out.supports_infill = true;
  out.supports_mask_bar_token = true;
  out.time_signatures = {{4, 4}, {3, 4}};
  for (auto& edges : out.density_edges) edges = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  return out;
}

inline std::shared_ptr<vocab::Codebook> codebook(const vocab::Settings& settings) {
  std::string error;
  return vocab::Codebook::build(settings, error);
}

// One window over all tracks and bars of the piece, asking for nothing else.
inline OwnedWindows whole(const OnePiece& piece) {
  OwnedWindows out;
  out.count = 1;
  out.max_tracks = static_cast<std::int64_t>(piece.track_program.size());
  out.max_bars = static_cast<std::int64_t>(piece.bar_length.size());
  out.piece = {0};
  out.start_bar = {0};
  out.num_bars = {static_cast<std::int32_t>(out.max_bars)};
  for (std::int32_t track = 0; track < out.max_tracks; ++track) out.tracks.push_back(track);
  out.infill.assign(static_cast<std::size_t>(out.max_tracks * out.max_bars), 0);
  out.masked = out.infill;
  out.window_bars = {0};
  out.transpose = {0};
  out.velocity_scale = {std::nan("")};
  out.genre = {-1};
  out.use_velocity = {1};
  out.use_microtiming = {1};
  out.partial_track = {-1};
  out.partial_bars = {-1};
  out.masked_as = {static_cast<std::uint8_t>(encode::MaskedAs::MaskToken)};
  out.max_tokens = {0};
  return out;
}

struct Answer {
  encode::RequestError error;
  std::vector<encode::Documents> parts;

  [[nodiscard]] encode::Status status() const { return parts[0].status[0]; }
  [[nodiscard]] std::vector<std::int32_t> tokens() const {
    const encode::Documents& part = parts[0];
    return {part.tokens.data(), part.tokens.data() + part.ends[0]};
  }
};

inline Answer encode_piece(const vocab::Codebook& book, const OnePiece& piece, const OwnedWindows& windows,
                           int threads = 1) {
  const std::array shards{piece.bounded()};
  const std::array<std::int64_t, 2> offsets{0, 1};
  Answer answer;
  const std::int32_t* const limits = windows.max_tokens.data();
  answer.error = encode::encode_batch(book, {shards, offsets.data()}, windows.view(), limits, threads, answer.parts);
  return answer;
}

// Tokens as "Type(value)", blanks between.
inline std::string spelled(const vocab::Codebook& book, const std::vector<std::int32_t>& tokens) {
  std::string out;
  for (const std::int32_t token : tokens) {
    if (!out.empty()) out += ' ';
    out += vocab::canonical_name(book.type_of(token));
    out += '(' + std::to_string(book.value_of(token)) + ')';
  }
  return out;
}

}  // namespace midigpt::tests
