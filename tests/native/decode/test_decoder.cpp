#include "decode/decoder.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "support/encode_request.h"

namespace {

using namespace midigpt::tests;
using midigpt::decode::DecodeResult;
using midigpt::vocab::Codebook;
using midigpt::vocab::TokenType;

using Named = std::vector<std::pair<TokenType, std::int32_t>>;

std::vector<std::int32_t> ids(const Codebook& book, const Named& named) {
  std::vector<std::int32_t> out;
  for (const auto& [type, value] : named) out.push_back(book.first_id(type) + value);
  return out;
}

DecodeResult decoded(const Codebook& book, const Named& named, bool resample = true) {
  return midigpt::decode::decode(book, ids(book, named), resample);
}

const Named kOneNote{{TokenType::Track, 0},      {TokenType::Instrument, 3},      {TokenType::Bar, 0},
                     {TokenType::TimeSig, 1},    {TokenType::TimeAbsolutePos, 6}, {TokenType::VelocityLevel, 25},
                     {TokenType::NoteOnset, 60}, {TokenType::NoteDuration, 11},   {TokenType::BarEnd, 0},
                     {TokenType::TrackEnd, 0}};

TEST_CASE("one note comes back on the decoder's grid, or on the encoder's") {
  const auto book = codebook(rich_settings());
  const DecodeResult result = decoded(*book, kOneNote);
  REQUIRE(result.error.empty());
  const auto& score = result.score;
  CHECK(score.resolution == 480);
  CHECK(score.track_program == std::vector<std::uint8_t>{3});
  CHECK(score.bar_numerator == std::vector<std::int32_t>{3});
  CHECK(score.bar_length == std::vector<double>{3.0});
  CHECK(score.cell_bar == std::vector<std::int32_t>{0});
  CHECK(score.note_onset == std::vector<std::int32_t>{240});
  CHECK(score.note_duration == std::vector<std::int32_t>{480});
  CHECK(book->velocity_levels().level(score.note_velocity[0]) == 25);
  CHECK(decoded(*book, kOneNote, false).score.note_onset == std::vector<std::int32_t>{6});
}

TEST_CASE("what stands in no track, no bar or after no pitch says nothing") {
  const auto book = codebook(rich_settings());
  const DecodeResult result = decoded(*book, {{TokenType::NoteOnset, 60},
                                              {TokenType::Bar, 0},
                                              {TokenType::TrackEnd, 0},
                                              {TokenType::Instrument, 9},
                                              {TokenType::Track, 0},
                                              {TokenType::NoteOnset, 60},
                                              {TokenType::Bar, 0},
                                              {TokenType::NoteDuration, 5},
                                              {TokenType::NoteOnset, 61}});
  REQUIRE(result.error.empty());
  CHECK(result.score.note_onset.empty());
  CHECK(result.score.track_program == std::vector<std::uint8_t>{0});
  CHECK(result.score.track_bar_end == std::vector<std::int32_t>{1});  // closed at the end
  CHECK(result.score.bar_length == std::vector<double>{0.0});         // its bar never ended
}

TEST_CASE("drums need no duration, an onset without velocity is heard") {
  const auto book = codebook(rich_settings());
  const Named drum{{TokenType::Track, 1}, {TokenType::Bar, 0}, {TokenType::NoteOnset, 36}, {TokenType::BarEnd, 0}};
  const DecodeResult result = decoded(*book, drum);
  CHECK(result.score.track_drum == std::vector<std::uint8_t>{1});
  CHECK(result.score.note_velocity == std::vector<std::uint8_t>{100});
}

TEST_CASE("attributes are kept under their names, bars' with their number") {
  auto settings = rich_settings();
  using midigpt::vocab::Control;
  using midigpt::vocab::Level;
  settings.attribute_controls = {{Control::NoteDensity, Level::Track, midigpt::vocab::TrackKind::Both, {}},
                                 {Control::PitchClassSet, Level::Bar, midigpt::vocab::TrackKind::Both, {}}};
  const auto book = codebook(settings);
  const DecodeResult result = decoded(*book, {{TokenType::Track, 0},
                                              {TokenType::NoteDensity, 4},
                                              {TokenType::NoteDuration, 2},
                                              {TokenType::Bar, 0},
                                              {TokenType::BarLevelPitchClassSet, 7}});
  const std::vector<midigpt::decode::Attribute> expected{
      {"note_density", 4}, {"note_duration_dist", 2}, {"bar_PitchClassSet_0", 7}};
  CHECK(result.score.track_attributes.at(0) == expected);
}

TEST_CASE("fill-in blocks go where their placeholders stand") {
  const auto book = codebook(rich_settings());
  const Named document{{TokenType::Bar, 0},         {TokenType::FillInPlaceholder, 0}, {TokenType::BarEnd, 0},
                       {TokenType::FillInStart, 0}, {TokenType::NoteOnset, 60},        {TokenType::FillInEnd, 0}};
  const auto resolved = midigpt::decode::resolve_infill(*book, ids(*book, document));
  REQUIRE(resolved.has_value());
  CHECK(*resolved == ids(*book, {{TokenType::Bar, 0}, {TokenType::NoteOnset, 60}, {TokenType::BarEnd, 0}}));
  Named endless{{TokenType::Track, 0}, {TokenType::Bar, 0}};
  for (int i = 0; i < 100; ++i) endless.emplace_back(TokenType::FillInPlaceholder, 0);
  for (int i = 0; i < 100; ++i) endless.emplace_back(TokenType::FillInStart, 0);
  CHECK(decoded(*book, endless).error == "the infill blocks have no ends");
}

TEST_CASE("deltas add up, a direction turns them, a note takes them") {
  auto settings = rich_settings();
  settings.emit_delta_tokens = true;
  const auto book = codebook(settings);
  const DecodeResult result = decoded(*book, {{TokenType::Track, 1},
                                              {TokenType::Bar, 0},
                                              {TokenType::TimeAbsolutePos, 12},
                                              {TokenType::Delta, 5},
                                              {TokenType::Delta, 1},
                                              {TokenType::NoteOnset, 36},
                                              {TokenType::DeltaDirection, 0},
                                              {TokenType::Delta, 3},
                                              {TokenType::NoteOnset, 37}});
  CHECK(result.score.note_onset == std::vector<std::int32_t>{500, 470});
}

TEST_CASE("foreign ids and a vocabulary without velocities are refused") {
  const auto book = codebook(rich_settings());
  const std::vector<std::int32_t> foreign{0, book->vocab_size()};
  CHECK(midigpt::decode::decode(*book, foreign, true).error.rfind("token 1 is ", 0) == 0);
  auto settings = rich_settings();
  settings.velocity_levels = 1;
  CHECK(decoded(*codebook(settings), kOneNote).error.find("one velocity level") != std::string::npos);
}

}  // namespace
