#include "grammar/grammar.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/encode_request.h"

namespace {

using namespace midigpt::tests;
using midigpt::grammar::Range;
using midigpt::grammar::Request;
using midigpt::grammar::Sequence;
using midigpt::vocab::Codebook;
using midigpt::vocab::TokenType;

using Named = std::vector<std::pair<TokenType, std::int32_t>>;

// Two bars of a track, 4/4 and 3/4, of which the second is to be written.
const Named kTwoBars{{TokenType::Track, 0},   {TokenType::Instrument, 3}, {TokenType::Bar, 0},
                     {TokenType::TimeSig, 0}, {TokenType::BarEnd, 0},     {TokenType::Bar, 0},
                     {TokenType::TimeSig, 1}, {TokenType::BarEnd, 0},     {TokenType::TrackEnd, 0}};

// A document that is being written, and what it was asked for.
class Generation {
 public:
  explicit Generation(midigpt::vocab::Settings settings = rich_settings())
      : book_(codebook(settings)), sequence_(*book_) {}

  std::string start(const Named& script, std::vector<std::uint8_t> cells, Request request = {}) {
    script_.clear();
    for (const auto& [type, value] : script) script_.push_back(id(type, value));
    cells_ = std::move(cells);
    request.script = script_;
    request.cells = cells_.data();
    request.max_tracks = 1;
    request.max_bars = static_cast<std::int64_t>(cells_.size());
    return sequence_.start(request);
  }
  [[nodiscard]] std::int32_t id(TokenType type, std::int32_t value) const { return book_->first_id(type) + value; }
  [[nodiscard]] bool allows(TokenType type, std::int32_t value) const {
    for (const Range& range : sequence_.allowed()) {
      if (id(type, value) >= range.first && id(type, value) < range.first + range.count) return true;
    }
    return false;
  }
  bool add(TokenType type, std::int32_t value) { return add(id(type, value)); }
  bool add(std::int32_t token) { return sequence_.advance(token); }
  [[nodiscard]] const Sequence& sequence() const { return sequence_; }
  [[nodiscard]] std::string text() const { return spelled(*book_, sequence_.tokens()); }

 private:
  std::shared_ptr<Codebook> book_;
  Sequence sequence_;
  std::vector<std::int32_t> script_;
  std::vector<std::uint8_t> cells_;
};

// The most memory that this process has held so far, in kB (Linux).
long peak_memory() {
  rusage usage{};
  REQUIRE(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_maxrss;
}

TEST_CASE("the script is followed to the bar that is asked for, and no further than its end") {
  Generation generation;
  const std::vector<std::pair<std::int64_t, std::int64_t>> masked{{2, 4}};
  Request request;
  request.masked = masked;
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  const std::string before = generation.text();
  CHECK(generation.sequence().tokens().size() == 7);
  CHECK(generation.sequence().is_masked(3));
  CHECK_FALSE(generation.sequence().is_masked(4));
  CHECK_FALSE(generation.sequence().finished());
  CHECK(generation.allows(TokenType::BarEnd, 0));
  CHECK_FALSE(generation.add(TokenType::TrackEnd, 0));
  CHECK(generation.text() == before);
  CHECK(generation.add(TokenType::BarEnd, 0));
  CHECK(generation.sequence().finished());
  CHECK(generation.sequence().allowed().empty());
  CHECK(generation.sequence().bars_written() == 1);
  CHECK(generation.sequence().tokens().size() == 8);
}

TEST_CASE("positions ascend within the bar, pitches within a position, velocities stick") {
  Generation generation;
  REQUIRE(generation.start(kTwoBars, {0, 1}).empty());
  CHECK_FALSE(generation.allows(TokenType::NoteOnset, 60));  // no velocity yet
  CHECK(generation.allows(TokenType::VelocityLevel, 25));
  CHECK(generation.allows(TokenType::TimeAbsolutePos, 35));
  CHECK_FALSE(generation.allows(TokenType::TimeAbsolutePos, 36));  // beyond 3/4
  REQUIRE(generation.add(TokenType::TimeAbsolutePos, 6));
  CHECK_FALSE(generation.allows(TokenType::BarEnd, 0));
  REQUIRE(generation.add(TokenType::VelocityLevel, 25));
  REQUIRE(generation.add(TokenType::NoteOnset, 60));
  REQUIRE(generation.add(TokenType::NoteDuration, 11));
  CHECK_FALSE(generation.allows(TokenType::NoteOnset, 60));
  CHECK(generation.allows(TokenType::NoteOnset, 61));
  CHECK_FALSE(generation.allows(TokenType::VelocityLevel, 25));
  CHECK(generation.allows(TokenType::VelocityLevel, 24));
  CHECK_FALSE(generation.allows(TokenType::TimeAbsolutePos, 6));
  CHECK(generation.allows(TokenType::TimeAbsolutePos, 7));
  REQUIRE(generation.add(TokenType::TimeAbsolutePos, 7));
  CHECK(generation.allows(TokenType::NoteOnset, 0));
}

TEST_CASE("a bar has no more notes, nor more at once, than are allowed") {
  Generation generation;
  Request request;
  request.max_notes = 1;
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  REQUIRE(generation.add(TokenType::VelocityLevel, 25));
  REQUIRE(generation.add(TokenType::NoteOnset, 60));
  REQUIRE(generation.add(TokenType::NoteDuration, 11));
  CHECK(generation.sequence().finished());  // the end was no choice

  request.max_notes = 0;
  request.max_polyphony = 1;
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  REQUIRE(generation.add(TokenType::VelocityLevel, 25));
  REQUIRE(generation.add(TokenType::NoteOnset, 60));
  REQUIRE(generation.add(TokenType::NoteDuration, 11));
  CHECK_FALSE(generation.allows(TokenType::NoteOnset, 61));
  CHECK_FALSE(generation.allows(TokenType::TimeAbsolutePos, 11));
  CHECK(generation.allows(TokenType::TimeAbsolutePos, 12));
}

TEST_CASE("a bar that is longer than the vocabulary has positions takes no memory for the rest") {
  const auto usual = codebook(rich_settings());
  auto settings = rich_settings();
  settings.token_domains.assign(usual->domains().begin(), usual->domains().end());
  settings.resolution = 1 << 16;
  settings.time_signatures = {{1 << 16, 1}, {3, 4}};  // 2^34 positions
  Generation generation(settings);
  Request request;
  request.max_polyphony = 1;
  const long before = peak_memory();
  REQUIRE(generation.start(kTwoBars, {1, 0}, request).empty());
  CHECK(peak_memory() - before < 16'000);
  CHECK(generation.allows(TokenType::TimeAbsolutePos, 47));
  REQUIRE(generation.add(TokenType::TimeAbsolutePos, 47));
  REQUIRE(generation.add(TokenType::VelocityLevel, 25));
  REQUIRE(generation.add(TokenType::NoteOnset, 60));
  REQUIRE(generation.add(TokenType::NoteDuration, 11));
  CHECK_FALSE(generation.allows(TokenType::NoteOnset, 61));
}

TEST_CASE("whatever is chosen, a document ends within its tokens") {
  for (const std::int64_t most : {8, 9, 12, 13, 40}) {
    CAPTURE(most);
    Generation generation;
    Request request;
    request.max_tokens = most;
    REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
    // The bar's end is the first of what is allowed, and taken only where nothing else is.
    while (!generation.sequence().finished()) REQUIRE(generation.add(generation.sequence().allowed().back().first));
    CHECK(generation.sequence().tokens().size() <= static_cast<std::size_t>(most));
    CHECK(generation.sequence().tokens().size() + 4 > static_cast<std::size_t>(most));
    CHECK(generation.sequence().bars_written() == 1);
  }
  Generation generation;
  Request request;
  request.max_tokens = 7;
  CHECK(generation.start(kTwoBars, {0, 1}, request) == "the prompt alone has 8 tokens, 7 are allowed");
}

TEST_CASE("attributes that are left out are chosen in their place, or stay out") {
  auto settings = rich_settings();
  settings.attribute_controls = {
      {midigpt::vocab::Control::NoteDensity, midigpt::vocab::Level::Track, midigpt::vocab::TrackKind::Both, {}}};
  Generation generation(settings);
  Request request;
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  CHECK(generation.sequence().tokens().size() == 7);
  request.choose_attributes = true;
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  CHECK(generation.sequence().tokens().size() == 2);
  CHECK_FALSE(generation.allows(TokenType::Bar, 0));
  REQUIRE(generation.add(TokenType::NoteDensity, 4));
  CHECK(generation.text().rfind("Track(0) Instrument(3) NoteDensity(4) Bar(0)", 0) == 0);
  CHECK(generation.sequence().bars_written() == 0);
}

TEST_CASE("a bar to fill in is written in its block") {
  const Named script{{TokenType::Track, 0},    {TokenType::Instrument, 3},        {TokenType::Bar, 0},
                     {TokenType::TimeSig, 0},  {TokenType::FillInPlaceholder, 0}, {TokenType::BarEnd, 0},
                     {TokenType::TrackEnd, 0}, {TokenType::FillInStart, 0},       {TokenType::FillInEnd, 0}};
  Generation generation;
  REQUIRE(generation.start(script, {1}).empty());
  CHECK(generation.sequence().tokens().size() == 8);
  CHECK_FALSE(generation.allows(TokenType::BarEnd, 0));
  CHECK(generation.allows(TokenType::TimeAbsolutePos, 47));
  CHECK(generation.add(TokenType::FillInEnd, 0));
  CHECK(generation.sequence().finished());
  const Named without(script.begin(), script.end() - 2);
  CHECK(generation.start(without, {1}) == "1 bars are to be written, the prompt has room for 0");
  Named twice = script;
  twice.emplace_back(TokenType::FillInStart, 0);
  CHECK(generation.start(twice, {1}) == "there are more fill blocks than placeholders");
  Named full = script;
  full.insert(full.end() - 1, {TokenType::NoteOnset, 60});
  CHECK(generation.start(full, {1}) == "fill block 0 is not empty");
}

TEST_CASE("scheduled notes are written, with what they prescribe, and no others") {
  using midigpt::grammar::BarControls;
  using midigpt::grammar::kFree;
  using midigpt::grammar::ScheduledNote;
  Generation generation;
  const std::vector<ScheduledNote> notes{{6, 60, 11, 25, kFree}, {12, kFree, 5, 25, kFree}, {12, 70, kFree, 20, kFree}};
  std::vector<BarControls> controls(2);
  controls[1].schedule = notes;
  controls[1].is_scheduled = true;
  Request request;
  request.controls = controls.data();
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  // Up to the first free pitch all is forced; a velocity that has not changed is not written.
  CHECK(
      generation.text().ends_with("TimeAbsolutePos(6) VelocityLevel(25) NoteOnset(60) NoteDuration(11) "
                                  "TimeAbsolutePos(12)"));
  CHECK_FALSE(generation.allows(TokenType::VelocityLevel, 24));
  CHECK(generation.allows(TokenType::NoteOnset, 69));
  CHECK_FALSE(generation.allows(TokenType::NoteOnset, 70));
  CHECK_FALSE(generation.allows(TokenType::BarEnd, 0));
  REQUIRE(generation.add(TokenType::NoteOnset, 61));
  CHECK(generation.text().ends_with("NoteOnset(61) NoteDuration(5) VelocityLevel(20) NoteOnset(70)"));
  REQUIRE(generation.add(TokenType::NoteDuration, 0));
  CHECK(generation.sequence().finished());

  request.max_polyphony = 1;
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  CHECK(generation.text().ends_with("NoteDuration(5) TimeAbsolutePos(12)"));  // so that the next note has room
  request.max_polyphony = 0;
  request.max_tokens = 15;
  CHECK(generation.start(kTwoBars, {0, 1}, request) ==
        "the prompt and the scheduled notes take 20 tokens, 15 are allowed");
}

TEST_CASE("masked pitches are not allowed, and weights are those of the bar") {
  using midigpt::grammar::BarControls;
  Generation generation;
  std::vector<std::uint8_t> pitches(128, 0);
  std::vector<float> weights(128, 0.5F);
  const std::vector<float> positions{1.0F, 0.25F, 0.0F, 0.0F};
  pitches[60] = pitches[62] = 1;
  weights[62] = 0;
  std::vector<BarControls> controls(2);
  controls[1].pitches = pitches.data();
  controls[1].pitch_weights = weights.data();
  controls[1].position_weights = positions;
  Request request;
  request.controls = controls.data();
  REQUIRE(generation.start(kTwoBars, {0, 1}, request).empty());
  REQUIRE(generation.add(TokenType::VelocityLevel, 25));
  CHECK(generation.allows(TokenType::NoteOnset, 60));
  CHECK_FALSE(generation.allows(TokenType::NoteOnset, 61));
  std::vector<double> out(4096, -1);
  generation.sequence().weigh(out.data());
  const auto weight = [&](TokenType type, std::int32_t value) {
    return out[static_cast<std::size_t>(generation.id(type, value))];
  };
  CHECK(weight(TokenType::NoteOnset, 60) == 0.5);
  CHECK(weight(TokenType::NoteOnset, 62) == 0);
  CHECK(weight(TokenType::TimeAbsolutePos, 1) == 0.25);
  CHECK(weight(TokenType::TimeAbsolutePos, 3) == 0);
  CHECK(weight(TokenType::TimeAbsolutePos, 4) == 1);
  CHECK(weight(TokenType::NoteDuration, 0) == 1);
  REQUIRE(generation.add(TokenType::NoteOnset, 60));
  REQUIRE(generation.add(TokenType::NoteDuration, 11));
  // The only pitch left at this onset has weight 0.
  CHECK_FALSE(generation.allows(TokenType::VelocityLevel, 24));
  CHECK(generation.allows(TokenType::BarEnd, 0));
}

TEST_CASE("what cannot be written is refused") {
  Generation generation;
  CHECK(generation.start(kTwoBars, {0, 0}) == "no bar is to be written");
  CHECK(generation.start(kTwoBars, {0, 1, 1}) == "2 bars are to be written, the prompt has room for 1");
  Named full = kTwoBars;
  full.insert(full.end() - 2, {TokenType::NoteOnset, 60});
  CHECK(generation.start(full, {0, 1}) == "bar 1 of track 0 is to be written and not empty");
  CHECK(generation.start({{TokenType::Track, 1 << 20}}, {1}) == "token 0 is outside the vocabulary");
  Request request;
  const std::vector<std::pair<std::int64_t, std::int64_t>> masked{{4, 2}};
  request.masked = masked;
  CHECK(generation.start(kTwoBars, {0, 1}, request) == "a masked span ends before it begins");
  request.masked = {};
  request.max_polyphony = -1;
  CHECK(generation.start(kTwoBars, {0, 1}, request) == "max_polyphony is -1, it must be at least 0 (no limit)");
  request.max_polyphony = 0;
  request.max_notes = INT32_MIN;
  CHECK(generation.start(kTwoBars, {0, 1}, request) == "max_notes is -2147483648, it must be at least 0 (no limit)");
  request.max_notes = 0;
  request.max_tokens = -1;
  CHECK(generation.start(kTwoBars, {0, 1}, request) == "max_tokens is -1, it must be at least 0 (no limit)");
}

}  // namespace
