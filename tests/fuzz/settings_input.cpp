#include "fuzz/settings_input.h"

namespace midigpt::fuzz {

namespace {

vocab::AttributeControl control_from(Bytes& bytes) {
  vocab::AttributeControl control;
  control.control = vocab::kControls[bytes.below(vocab::kControls.size())].control;
  const std::size_t parameters = bytes.below(18);
  control.level = static_cast<vocab::Level>(parameters % 2);
  control.kind = static_cast<vocab::TrackKind>(parameters / 2 % 3);
  control.mode = static_cast<vocab::Mode>(parameters / 6);
  return control;
}

}  // namespace

vocab::Settings settings_from(Bytes& bytes) {
  vocab::Settings out;
  const auto flags = bytes.take<std::uint8_t>();
  const auto flag = [flags](int bit) { return (flags >> bit & 1) != 0; };
  out.emit_delta_tokens = flag(0);
  out.supports_infill = flag(1);
  out.supports_mask_bar_token = flag(2);
  out.velocity_sticky = flag(3);
  out.switchable_velocity = flag(4);
  out.switchable_microtiming = flag(5);
  out.signed_deltas = flag(6);
  out.placeholder_positions = flag(7) && out.supports_infill;
  for (std::int32_t* number : {&out.resolution, &out.decode_resolution, &out.pitch_min, &out.pitch_max,
                               &out.velocity_levels, &out.note_duration_max_beats, &out.num_genres}) {
    *number = bytes.take<std::int32_t>();
  }
  for (std::size_t left = bytes.below(64); left > 0; --left) {
    const auto numerator = bytes.take<std::int32_t>();
    out.time_signatures.push_back({numerator, bytes.take<std::int32_t>()});
  }
  for (std::size_t left = bytes.below(16); left > 0; --left) {
    auto& group = out.instrument_merge_groups.emplace_back(bytes.below(16));
    for (std::int32_t& program : group) program = bytes.take<std::int32_t>();
  }
  for (std::size_t left = bytes.below(16); left > 0; --left) out.num_bars_map.push_back(bytes.take<std::int32_t>());
  for (std::size_t left = bytes.below(32); left > 0; --left) out.attribute_controls.push_back(control_from(bytes));
  for (std::size_t left = bytes.below(128); left > 0; --left) {
    const vocab::TokenType type = vocab::kTokenTypes[bytes.below(vocab::kTokenTypes.size())].type;
    out.token_domains.push_back({type, bytes.take<std::int32_t>()});
  }
  // NOLINTNEXTLINE(bugprone-signed-char-misuse): edges may descend
  const auto step = static_cast<std::int32_t>(bytes.take<std::int8_t>());
  for (auto& edges : out.density_edges) {
    for (std::size_t bin = 0; bin < edges.size(); ++bin) edges[bin] = step * static_cast<std::int32_t>(bin);
  }
  return out;
}

}  // namespace midigpt::fuzz
