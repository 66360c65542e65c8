#include "vocab/attribute_controls.h"

#include <doctest/doctest.h>

#include <array>
#include <set>
#include <string>

namespace {

using namespace midigpt::vocab;

TEST_CASE("the controls table stands in the order of its numbers") {
  for (std::size_t row = 0; row < kControls.size(); ++row) {
    CHECK(static_cast<std::size_t>(kControls[row].control) == row);
    CHECK(info(kControls[row].control).name == kControls[row].name);
    CHECK(kControls[row].size >= 1);
  }
}

TEST_CASE("names carry level and mode") {
  AttributeControl control{Control::PolyphonyQuantile, Level::Bar, TrackKind::Melodic, Mode::Min};
  CHECK(attribute_name(control) == "bar_min_polyphony");
  CHECK(token_spelling(control) == "BarLevelOnsetPolyphonyMin");
  control.level = Level::Track;
  control.mode = Mode::Max;
  CHECK(attribute_name(control) == "max_polyphony");
  CHECK(token_spelling(control) == "MaxPolyphony");
  control = {Control::PitchClassSet, Level::Track, TrackKind::Melodic, Mode::None};
  CHECK(attribute_name(control) == "pitch_class_set_track");
  CHECK(token_spelling(control).empty());
}

TEST_CASE("every control is for the tracks it says") {
  AttributeControl control;
  control.kind = TrackKind::Drum;
  CHECK(control.applies_to(true));
  CHECK_FALSE(control.applies_to(false));
  control.kind = TrackKind::Both;
  CHECK(control.applies_to(false));
}

TEST_CASE("every control at either level has a name, and a spelling that is a token type or none") {
  for (const ControlInfo& row : kControls) {
    for (const Level level : {Level::Track, Level::Bar}) {
      for (const Mode mode : {Mode::None, Mode::Min, Mode::Max}) {
        const AttributeControl control{row.control, level, row.default_kind, mode};
        CAPTURE(std::string(row.name));
        CHECK_FALSE(attribute_name(control).empty());
        const std::string_view spelling = token_spelling(control);
        CHECK((spelling.empty() || token_type(spelling).has_value()));
      }
    }
  }
}

TEST_CASE("domains bring their controls, configured ones replace those of their spelling or name") {
  const std::array types{TokenType::NoteDensity, TokenType::Bar, TokenType::MinPolyphony};
  const auto from_domains = register_controls(types, {});
  REQUIRE(from_domains.size() == 2);
  CHECK(from_domains[0].control == Control::NoteDensityQuantile);
  const std::array configured{
      AttributeControl{Control::NoteDensity, Level::Track, TrackKind::Melodic, Mode::None},
      AttributeControl{Control::Nomml, Level::Track, TrackKind::Both, Mode::None},
  };
  const auto controls = register_controls(types, configured);
  REQUIRE(controls.size() == 3);
  CHECK(controls[0].control == Control::NoteDensity);
  CHECK(controls[2].control == Control::Nomml);
}

}  // namespace
