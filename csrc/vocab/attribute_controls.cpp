#include "vocab/attribute_controls.h"

#include <algorithm>
#include <cstddef>

namespace midigpt::vocab {

namespace {

struct DefaultControl {
  TokenType type;
  AttributeControl control;
};

constexpr auto kDefaults = std::to_array<DefaultControl>({
    {TokenType::MinPolyphony, {Control::PolyphonyQuantile, Level::Track, TrackKind::Melodic, Mode::Min}},
    {TokenType::MaxPolyphony, {Control::PolyphonyQuantile, Level::Track, TrackKind::Melodic, Mode::Max}},
    {TokenType::MinNoteDuration, {Control::NoteDurationQuantile, Level::Track, TrackKind::Melodic, Mode::Min}},
    {TokenType::MaxNoteDuration, {Control::NoteDurationQuantile, Level::Track, TrackKind::Melodic, Mode::Max}},
    {TokenType::NoteDensity, {Control::NoteDensityQuantile, Level::Track, TrackKind::Drum, Mode::None}},
    {TokenType::TrackLevelSilenceProportionMax,
     {Control::SilenceProportion, Level::Track, TrackKind::Both, Mode::None}},
    {TokenType::TrackLevelPitchRangeMax, {Control::PitchRange, Level::Track, TrackKind::Melodic, Mode::None}},
    {TokenType::KeySignature, {Control::KeySignature, Level::Track, TrackKind::Melodic, Mode::None}},
    {TokenType::BarLevelPitchClassSet, {Control::PitchClassSet, Level::Bar, TrackKind::Melodic, Mode::None}},
    {TokenType::BarLevelOnsetDensity, {Control::NoteDensityQuantile, Level::Bar, TrackKind::Drum, Mode::None}},
    {TokenType::BarLevelOnsetPolyphonyMin, {Control::PolyphonyQuantile, Level::Bar, TrackKind::Melodic, Mode::Min}},
    {TokenType::BarLevelOnsetPolyphonyMax, {Control::PolyphonyQuantile, Level::Bar, TrackKind::Melodic, Mode::Max}},
    {TokenType::Tension, {Control::Tension, Level::Bar, TrackKind::Melodic, Mode::None}},
    {TokenType::TensionDrum, {Control::TensionDrum, Level::Bar, TrackKind::Drum, Mode::None}},
    {TokenType::TrackLevelNomml, {Control::Nomml, Level::Track, TrackKind::Both, Mode::None}},
});

std::string_view track_spelling(const AttributeControl& control) {
  const bool min = control.mode == Mode::Min;
  switch (control.control) {
    case Control::NoteDensity:
    case Control::NoteDensityQuantile: return "NoteDensity";
    case Control::PolyphonyQuantile: return min ? "MinPolyphony" : "MaxPolyphony";
    case Control::NoteDurationQuantile: return min ? "MinNoteDuration" : "MaxNoteDuration";
    case Control::OnsetPolyphony: return "OnsetPolyphony";
    case Control::PitchRange: return "TrackLevelPitchRangeMax";
    case Control::KeySignature: return "KeySignature";
    case Control::SilenceProportion: return "TrackLevelSilenceProportionMax";
    case Control::NoteDurationDist: return "NoteDurationDist";
    // The scale is the same, so it takes the place of the control that it corrects.
    case Control::Nomml:
    case Control::NommlFine: return "TrackLevelNomml";
    case Control::SilenceProportionCorrected: return "RestPercentage";
    case Control::PitchClassSet:
    case Control::PitchClassCount:
    case Control::Tension:
    case Control::TensionDrum:
    case Control::External: return {};
  }
  return {};
}

std::string_view bar_spelling(const AttributeControl& control) {
  const bool min = control.mode == Mode::Min;
  switch (control.control) {
    case Control::NoteDensityQuantile: return "BarLevelOnsetDensity";
    case Control::PolyphonyQuantile: return min ? "BarLevelOnsetPolyphonyMin" : "BarLevelOnsetPolyphonyMax";
    case Control::PitchClassSet: return "BarLevelPitchClassSet";
    case Control::PitchClassCount: return "PitchClassCount";
    case Control::Tension: return "Tension";
    case Control::TensionDrum: return "TensionDrum";
    default: return {};
  }
}

}  // namespace

const ControlInfo& info(Control control) { return kControls[static_cast<std::size_t>(control)]; }

std::string attribute_name(const AttributeControl& control) {
  std::string name;
  switch (control.control) {
    case Control::NoteDensityQuantile: name = "note_density"; break;
    case Control::PolyphonyQuantile: name = control.mode == Mode::Min ? "min_polyphony" : "max_polyphony"; break;
    case Control::NoteDurationQuantile:
      name = control.mode == Mode::Min ? "min_note_duration" : "max_note_duration";
      break;
    // These are bar controls by default, so it is the track level that carries a mark.
    case Control::PitchClassSet: return control.level == Level::Bar ? "pitch_class_set" : "pitch_class_set_track";
    case Control::PitchClassCount:
    case Control::Tension:
    case Control::TensionDrum: return std::string(info(control.control).name);
    default: name = info(control.control).name; break;
  }
  return control.level == Level::Bar ? "bar_" + name : name;
}

std::string_view token_spelling(const AttributeControl& control) {
  return control.level == Level::Bar ? bar_spelling(control) : track_spelling(control);
}

std::vector<AttributeControl> register_controls(std::span<const TokenType> domain_types,
                                                std::span<const AttributeControl> configured) {
  std::vector<AttributeControl> controls;
  for (const TokenType type : domain_types) {
    const auto found = std::find_if(kDefaults.begin(), kDefaults.end(),
                                    [type](const DefaultControl& row) { return row.type == type; });
    if (found != kDefaults.end()) controls.push_back(found->control);
  }
  for (const AttributeControl& control : configured) {
    const auto same = std::find_if(controls.begin(), controls.end(), [&control](const AttributeControl& other) {
      return token_spelling(other) == token_spelling(control);
    });
    if (same != controls.end()) {
      *same = control;
    } else {
      controls.push_back(control);
    }
  }
  std::vector<AttributeControl> unique;
  for (const AttributeControl& control : controls) {
    const auto same = std::find_if(unique.begin(), unique.end(), [&control](const AttributeControl& other) {
      return attribute_name(other) == attribute_name(control);
    });
    if (same != unique.end()) {
      *same = control;
    } else {
      unique.push_back(control);
    }
  }
  return unique;
}

}  // namespace midigpt::vocab
