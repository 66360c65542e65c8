// Everything an encoder configuration fixes, built once and shared, unchanging, by encoder, decoder and grammar.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vocab/attribute_controls.h"
#include "vocab/quantisers.h"
#include "vocab/scales.h"
#include "vocab/settings.h"
#include "vocab/token_types.h"

namespace midigpt::vocab {

// Largest values of a configuration. They are far beyond any use and keep every size below 2^31.
inline constexpr std::int32_t kMaxResolution = 1 << 16;
inline constexpr std::int32_t kMaxExternalLevels = 1024;
inline constexpr std::int32_t kMaxVocabularySize = 1 << 22;

// An attribute that is written: the position of its control on the K axis, its name and the type of its token.
struct WrittenAttribute {
  std::size_t control = 0;
  std::string_view name;
  TokenType type = TokenType::None;
};

class Codebook {
 public:
  // Null and a message naming the setting if the settings cannot be used.
  static std::shared_ptr<Codebook> build(Settings settings, std::string& error);

  [[nodiscard]] const Settings& settings() const { return settings_; }

  // Those of the configuration; the tokens of external attributes follow them.
  [[nodiscard]] std::span<const Domain> domains() const { return domains_; }
  [[nodiscard]] std::int32_t vocab_size() const { return vocab_size_; }
  [[nodiscard]] bool has(TokenType type) const { return sizes_[index_of(type)] > 0; }
  [[nodiscard]] std::int32_t size(TokenType type) const { return sizes_[index_of(type)]; }
  [[nodiscard]] std::int32_t first_id(TokenType type) const { return offsets_[index_of(type)]; }
  [[nodiscard]] TokenType type_of(std::int32_t token) const { return types_[static_cast<std::size_t>(token)]; }
  [[nodiscard]] std::int32_t value_of(std::int32_t token) const { return token - first_id(type_of(token)); }
  [[nodiscard]] bool can_infill() const {
    return has(TokenType::FillInPlaceholder) && has(TokenType::FillInStart) && has(TokenType::FillInEnd);
  }

  // Dense instrument id of a program, 0 for a program outside 0..127; and the program that stands for an id.
  [[nodiscard]] std::int32_t instrument(std::int32_t program) const;
  [[nodiscard]] std::int32_t representative(std::int32_t instrument) const;
  // Value of a time signature (the last, if the list repeats it), or nothing if the list does not have it. Without a
  // list every signature is 0.
  [[nodiscard]] std::optional<std::int32_t> time_signature(TimeSignature signature) const;
  // Value of a window size, or nothing if num_bars_map does not have it.
  [[nodiscard]] std::optional<std::int32_t> num_bars(std::int32_t window_bars) const;
  [[nodiscard]] const VelocityLevels& velocity_levels() const { return velocity_levels_; }
  [[nodiscard]] const DurationLevels& duration_levels() const { return duration_levels_; }
  [[nodiscard]] const MetricalDepth& metrical_depth() const { return metrical_depth_; }

  // The K axis: external attributes come last.
  [[nodiscard]] std::span<const AttributeControl> controls() const { return controls_; }
  // The name under which the values of a control are kept.
  [[nodiscard]] std::string name_of(std::size_t control) const;
  // What a track or a bar header writes, in the order of writing.
  [[nodiscard]] std::span<const WrittenAttribute> track_attributes() const { return track_attributes_; }
  [[nodiscard]] std::span<const WrittenAttribute> bar_attributes() const { return bar_attributes_; }

 private:
  explicit Codebook(Settings settings)
      : settings_(std::move(settings)), duration_levels_(settings_.resolution), metrical_depth_(settings_.resolution) {}

  std::string index_domains();
  [[nodiscard]] std::string check_signed_deltas() const;
  [[nodiscard]] std::string check_external_attributes() const;
  // Gives the tokens of one type the ids from `total` on.
  void add_type(TokenType type, std::int32_t size, std::int64_t& total);
  void index_instruments();
  void index_attributes();

  Settings settings_;
  std::vector<Domain> domains_;
  std::int32_t vocab_size_ = 0;
  std::array<std::int32_t, kFirstExternal + kMaxExternal> sizes_{};
  std::array<std::int32_t, kFirstExternal + kMaxExternal> offsets_{};
  std::vector<TokenType> types_;
  std::array<std::int32_t, 128> instrument_of_{};
  std::vector<std::int32_t> representatives_;
  VelocityLevels velocity_levels_{2};
  DurationLevels duration_levels_;
  MetricalDepth metrical_depth_;
  std::vector<AttributeControl> controls_;
  std::vector<WrittenAttribute> track_attributes_;
  std::vector<WrittenAttribute> bar_attributes_;
};

// The token type and name of each attribute as tokens carry them, in writing order (docs/encoder-specification.md, C.3
// and C.4). The corrected controls come last; their types mean nothing to an encoder without the control.
struct AttributeToken {
  std::string_view name;
  TokenType type;
};
inline constexpr auto kTrackAttributeTokens = std::to_array<AttributeToken>({
    {"min_polyphony", TokenType::MinPolyphony},
    {"max_polyphony", TokenType::MaxPolyphony},
    {"min_note_duration", TokenType::MinNoteDuration},
    {"max_note_duration", TokenType::MaxNoteDuration},
    {"note_density", TokenType::NoteDensity},
    {"onset_polyphony", TokenType::BarLevelOnsetPolyphonyMax},
    {"pitch_range", TokenType::TrackLevelPitchRangeMax},
    {"key_signature", TokenType::KeySignature},
    {"silence_proportion", TokenType::TrackLevelSilenceProportionMax},
    {"nomml", TokenType::TrackLevelNomml},
});
inline constexpr auto kCorrectedTrackTokens = std::to_array<AttributeToken>({
    {"silence_proportion_corrected", TokenType::RestPercentage},
    {"nomml_fine", TokenType::TrackLevelNomml},
});
// PitchClassSet is listed under its alias: encoders look for "bar_PitchClassSet_0" while the control stores
// "bar_BarLevelPitchClassSet_0", so the token is never written. Released models have never seen it.
inline constexpr auto kBarAttributeTokens = std::to_array<AttributeToken>({
    {"Tension", TokenType::Tension},
    {"TensionDrum", TokenType::TensionDrum},
    {"PitchClassSet", TokenType::BarLevelPitchClassSet},
    {"BarLevelOnsetDensity", TokenType::BarLevelOnsetDensity},
    {"BarLevelOnsetPolyphonyMin", TokenType::BarLevelOnsetPolyphonyMin},
    {"BarLevelOnsetPolyphonyMax", TokenType::BarLevelOnsetPolyphonyMax},
});
inline constexpr auto kCorrectedBarTokens = std::to_array<AttributeToken>({
    {"PitchClassCount", TokenType::PitchClassCount},
});

}  // namespace midigpt::vocab
