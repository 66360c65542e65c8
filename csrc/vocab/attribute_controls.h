// Attribute controls: the properties of a score that can be requested (docs/encoder-specification.md, B.7 and E.1).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vocab/token_types.h"

namespace midigpt::vocab {

enum class Control : std::uint8_t {
  NoteDensity,
  NoteDensityQuantile,
  PolyphonyQuantile,
  NoteDurationQuantile,
  OnsetPolyphony,
  PitchRange,
  KeySignature,
  SilenceProportion,
  PitchClassSet,
  NoteDurationDist,
  Nomml,
  Tension,
  TensionDrum,
  // Corrected forms of controls above, under names of their own (docs/encoder.md).
  SilenceProportionCorrected,
  PitchClassCount,
  NommlFine,
  // Computed by a plugin; it has no row in kControls.
  External,
};

enum class Level : std::uint8_t { Track, Bar };
enum class TrackKind : std::uint8_t { Melodic, Drum, Both };
enum class Mode : std::uint8_t { None, Min, Max };

// A control with its parameters filled in.
struct AttributeControl {
  Control control = Control::NoteDensity;
  Level level = Level::Track;
  TrackKind kind = TrackKind::Melodic;
  Mode mode = Mode::None;

  [[nodiscard]] bool applies_to(bool drum) const {
    return kind == TrackKind::Both || (kind == TrackKind::Drum) == drum;
  }
};

// An attribute control that a plugin computes.
struct ExternalAttribute {
  std::string name;
  Level level = Level::Track;
  TrackKind kind = TrackKind::Both;
  std::int32_t size = 0;  // levels
};

// What the controls table says of one control.
struct ControlInfo {
  Control control;
  std::string_view name;
  Level default_level;
  TrackKind default_kind;
  bool needs_mode;
  bool takes_parameters;  // `level` and `track_type`
  std::int32_t size;      // values that its tokens tell apart
};

inline constexpr auto kControls = std::to_array<ControlInfo>({
    {Control::NoteDensity, "note_density", Level::Track, TrackKind::Melodic, false, false, 10},
    {Control::NoteDensityQuantile, "note_density_quantile", Level::Track, TrackKind::Drum, false, true, 10},
    {Control::PolyphonyQuantile, "polyphony_quantile", Level::Track, TrackKind::Melodic, true, true, 10},
    {Control::NoteDurationQuantile, "note_duration_quantile", Level::Track, TrackKind::Melodic, true, true, 6},
    {Control::OnsetPolyphony, "onset_polyphony", Level::Track, TrackKind::Melodic, false, false, 10},
    {Control::PitchRange, "pitch_range", Level::Track, TrackKind::Melodic, false, false, 128},
    {Control::KeySignature, "key_signature", Level::Track, TrackKind::Melodic, false, false, 25},
    {Control::SilenceProportion, "silence_proportion", Level::Track, TrackKind::Both, false, true, 10},
    {Control::PitchClassSet, "pitch_class_set", Level::Bar, TrackKind::Melodic, false, true, 13},
    {Control::NoteDurationDist, "note_duration_dist", Level::Track, TrackKind::Both, false, false, 6},
    {Control::Nomml, "nomml", Level::Track, TrackKind::Both, false, false, 13},
    {Control::Tension, "tension", Level::Bar, TrackKind::Melodic, false, false, 10},
    {Control::TensionDrum, "tension_drum", Level::Bar, TrackKind::Drum, false, false, 10},
    {Control::SilenceProportionCorrected, "silence_proportion_corrected", Level::Track, TrackKind::Both, false, true,
     10},
    {Control::PitchClassCount, "pitch_class_count", Level::Bar, TrackKind::Melodic, false, true, 13},
    {Control::NommlFine, "nomml_fine", Level::Track, TrackKind::Both, false, false, 13},
});

const ControlInfo& info(Control control);

// The name under which a control's value is kept, e.g. "bar_min_polyphony".
std::string attribute_name(const AttributeControl& control);

// The spelling of the control's token type, an alias where the encoder format has one; empty if this level of the
// control has no token type, so that a configuration cannot ask for it.
std::string_view token_spelling(const AttributeControl& control);

// The controls of a vocabulary: one for every domain whose type has a default, then the configured ones, which
// replace a control with the same spelling and, after that, one with the same name (B.7).
std::vector<AttributeControl> register_controls(std::span<const TokenType> domain_types,
                                                std::span<const AttributeControl> configured);

}  // namespace midigpt::vocab
