#include "vocab/codebook.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>

namespace {

using namespace midigpt::vocab;

Settings settings() {
  Settings out;
  out.resolution = 12;
  out.decode_resolution = 1920;
  out.time_signatures = {{4, 4}, {3, 4}, {4, 4}};
  out.num_bars_map = {4, 8};
  return out;
}

std::shared_ptr<Codebook> build(const Settings& settings) {
  std::string error;
  auto book = Codebook::build(settings, error);
  CHECK(error == "");
  REQUIRE(book != nullptr);
  return book;
}

std::string refusal(const std::function<void(Settings&)>& change) {
  Settings changed = settings();
  change(changed);
  std::string error;
  CHECK(Codebook::build(changed, error) == nullptr);
  return error;
}

TEST_CASE("ids run through the domains in their order") {
  const auto book = build(settings());
  std::int32_t next = 0;
  for (const Domain& domain : book->domains()) {
    CHECK(book->first_id(domain.type) == next);
    CHECK(book->type_of(next) == domain.type);
    CHECK(book->value_of(next + domain.size - 1) == domain.size - 1);
    next += domain.size;
  }
  CHECK(book->vocab_size() == next);
  CHECK(book->size(TokenType::TimeAbsolutePos) == 48);
  CHECK(book->size(TokenType::NoteDuration) == 96);
  CHECK(book->has(TokenType::Bar));
  CHECK_FALSE(book->has(TokenType::MaskBar));
  CHECK_FALSE(book->can_infill());
}

TEST_CASE("switches bring their types") {
  Settings all = settings();
  all.supports_infill = all.supports_mask_bar_token = all.switchable_velocity = all.switchable_microtiming = true;
  all.num_genres = 3;
  const auto book = build(all);
  CHECK(book->can_infill());
  CHECK(book->settings().emit_delta_tokens);
  CHECK(book->size(TokenType::PieceStart) == 2);
  CHECK(book->size(TokenType::Genre) == 3);
  CHECK(book->has(TokenType::MaskBar));
  CHECK(book->has(TokenType::UseVelocity));
  CHECK(book->has(TokenType::UseMicrotiming));
  CHECK(book->has(TokenType::Delta));
}

TEST_CASE("merged programs share an instrument, the first of their group stands for it") {
  Settings merged = settings();
  merged.instrument_merge_groups = {{5, 1, 2}, {}};
  const auto book = build(merged);
  CHECK(book->size(TokenType::Instrument) == 126);
  CHECK(book->instrument(1) == book->instrument(5));
  CHECK(book->representative(book->instrument(2)) == 5);
  CHECK(book->instrument(-1) == 0);
  CHECK(book->instrument(128) == 0);
  CHECK(book->representative(-1) == 0);
  CHECK(book->representative(126) == 0);
}

TEST_CASE("signatures and window sizes have values if they are listed, the last of equals") {
  const auto book = build(settings());
  CHECK(book->time_signature({4, 4}) == 2);
  CHECK(book->time_signature({3, 4}) == 1);
  CHECK(book->time_signature({6, 8}) == std::nullopt);
  CHECK(book->num_bars(8) == 1);
  CHECK(book->num_bars(5) == std::nullopt);
  Settings none = settings();
  none.time_signatures.clear();
  CHECK(build(none)->time_signature({6, 8}) == 0);
  CHECK_FALSE(build(none)->has(TokenType::TimeAbsolutePos));
}

TEST_CASE("attributes are written where the vocabulary has both the control and its token") {
  Settings with = settings();
  with.attribute_controls = {{Control::Nomml, Level::Track, TrackKind::Both, Mode::None},
                             {Control::PolyphonyQuantile, Level::Bar, TrackKind::Melodic, Mode::Min},
                             {Control::PitchClassSet, Level::Bar, TrackKind::Melodic, Mode::None}};
  const auto book = build(with);
  REQUIRE(book->controls().size() == 3);
  REQUIRE(book->track_attributes().size() == 1);
  CHECK(book->track_attributes()[0].type == TokenType::TrackLevelNomml);
  CHECK(book->size(TokenType::TrackLevelNomml) == 13);
  REQUIRE(book->bar_attributes().size() == 1);  // the pitch-class set is never written
  CHECK(book->bar_attributes()[0].type == TokenType::BarLevelOnsetPolyphonyMin);
}

TEST_CASE("what cannot be used is refused by the name of the setting") {
  const auto starts = [](const std::string& text, const char* begin) { return text.rfind(begin, 0) == 0; };
  CHECK(starts(refusal([](Settings& s) { s.resolution = 0; }), "resolution:"));
  CHECK(starts(refusal([](Settings& s) { s.decode_resolution = kMaxResolution + 1; }), "decode_resolution:"));
  CHECK(starts(refusal([](Settings& s) { s.velocity_levels = -1; }), "velocity_levels:"));
  CHECK(starts(refusal([](Settings& s) { s.note_duration_max_beats = 0; }), "note_duration_max_beats:"));
  CHECK(starts(refusal([](Settings& s) { s.pitch_min = 90, s.pitch_max = 10; }), "pitch_range:"));
  CHECK(starts(refusal([](Settings& s) { s.time_signatures[1] = {4, 0}; }), "time_signatures: 4/0"));
  CHECK(starts(refusal([](Settings& s) { s.time_signatures[1] = {-1, 4}; }), "time_signatures: -1/4"));
  CHECK(starts(refusal([](Settings& s) { s.instrument_merge_groups = {{128}}; }), "instrument_merge_groups:"));
  CHECK(starts(refusal([](Settings& s) {
                 s.attribute_controls = {{Control::PitchClassSet, Level::Track, TrackKind::Both, Mode::None}};
               }),
               "attribute_controls: pitch_class_set"));
  CHECK(
      starts(refusal([](Settings& s) { s.token_domains = {{TokenType::Bar, 0}}; }), "token_domains: the size of Bar"));
  CHECK(starts(refusal([](Settings& s) { s.token_domains = {{TokenType::Bar, 1}, {TokenType::Bar, 1}}; }),
               "token_domains: Bar is listed twice"));
  CHECK(starts(refusal([](Settings& s) { s.note_duration_max_beats = 1 << 30; }), "token_domains: more than"));
}

}  // namespace
