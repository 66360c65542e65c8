#include "encode/attributes.h"

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "support/encode_request.h"

namespace {

using namespace midigpt::tests;
using midigpt::vocab::AttributeControl;
using midigpt::vocab::Control;
using midigpt::vocab::Level;
using midigpt::vocab::Mode;
using midigpt::vocab::TrackKind;

// Values of one control: the first track's own, then its bars'.
std::vector<int> values(const AttributeControl& control, const OnePiece& piece) {
  auto settings = rich_settings();
  settings.attribute_controls = {control};
  const auto book = codebook(settings);
  REQUIRE(book->controls().size() == 1);
  const std::array shards{piece.bounded()};
  const std::array<std::int64_t, 2> offsets{0, 1};
  const midigpt::tests::OwnedWindows windows = whole(piece);
  std::vector<std::int16_t> out(static_cast<std::size_t>(windows.max_tracks * (1 + windows.max_bars)), 7);
  const auto error = midigpt::encode::compute_attributes(*book, {shards, offsets.data()}, windows.view(), out.data());
  REQUIRE(error.message == "");
  return {out.begin(), out.begin() + 1 + windows.max_bars};
}

int track_value(Control control, const OnePiece& piece, Mode mode = Mode::None) {
  return values({control, Level::Track, TrackKind::Both, mode}, piece)[0];
}

std::vector<int> bar_values(Control control, const OnePiece& piece, Mode mode = Mode::None) {
  std::vector<int> all = values({control, Level::Bar, TrackKind::Both, mode}, piece);
  CHECK(all[0] == -1);
  return {all.begin() + 1, all.end()};
}

// C major triads in quarters through the first bar, one long C in the second, silence in the third.
OnePiece triads() {
  OnePiece piece;
  for (int bar = 0; bar < 3; ++bar) piece.add_bar(4, 4);
  piece.add_track(0, false);
  for (std::int32_t quarter = 0; quarter < 4; ++quarter) {
    for (const int pitch : {60, 64, 67}) {
      piece.add_note(0, 480 * quarter, 480, static_cast<std::uint8_t>(pitch), 80);
    }
  }
  piece.add_note(1, 0, 1920, 48, 80);
  return piece;
}

TEST_CASE("densities") {
  CHECK(track_value(Control::NoteDensity, triads()) == 4);          // 13 notes in 3 bars
  CHECK(track_value(Control::NoteDensityQuantile, triads()) == 5);  // 13 in 2 bars with notes: 6, rounded to even
  CHECK(bar_values(Control::NoteDensityQuantile, triads()) == std::vector{9, 0, 0});
}

TEST_CASE("polyphony and durations") {
  CHECK(track_value(Control::PolyphonyQuantile, triads(), Mode::Min) == 0);
  CHECK(track_value(Control::PolyphonyQuantile, triads(), Mode::Max) == 2);
  CHECK(bar_values(Control::PolyphonyQuantile, triads(), Mode::Min) == std::vector{2, 0, 0});
  CHECK(track_value(Control::OnsetPolyphony, triads()) == 3);
  CHECK(track_value(Control::NoteDurationQuantile, triads(), Mode::Min) == 3);
  CHECK(track_value(Control::NoteDurationDist, triads()) == 3);
}

TEST_CASE("pitches and key") {
  CHECK(track_value(Control::PitchRange, triads()) == 19);
  CHECK(track_value(Control::KeySignature, triads()) == 0);
  CHECK(bar_values(Control::PitchClassSet, triads()) == std::vector{3, 1, 0});
  CHECK(bar_values(Control::Tension, triads()) == std::vector{5, 5, 5});
}

TEST_CASE("silence counts bars after the first as silent, as released models learnt it") {
  CHECK(track_value(Control::SilenceProportion, triads()) == 6);  // two of three bars
}

TEST_CASE("corrected controls: what sounds is not silent, classes are counted, depth is that of the columns") {
  CHECK(track_value(Control::SilenceProportionCorrected, triads()) == 3);  // one of three bars
  CHECK(bar_values(Control::PitchClassCount, triads()) == std::vector{3, 1, 0});
  OnePiece late = triads();
  late.note_onset.assign(late.note_onset.size(), 30);  // a 64th after the bar line; on its grid of 12 it is on it
  CHECK(track_value(Control::Nomml, late) == 0);
  CHECK(track_value(Control::NommlFine, late) == 8);
  late.track_nomml = {7};
  CHECK(track_value(Control::NommlFine, late) == 7);
}

TEST_CASE("metrical depth is the corpus's, or measured") {
  CHECK(track_value(Control::Nomml, triads()) == 0);
  OnePiece given = triads();
  given.track_nomml = {7};
  CHECK(track_value(Control::Nomml, given) == 7);
  given.track_nomml = {100};
  CHECK(track_value(Control::Nomml, given) == 12);
}

TEST_CASE("an empty track has a value for everything") {
  OnePiece empty;
  empty.add_bar(4, 4);
  empty.add_track(0, true);
  CHECK(track_value(Control::NoteDensityQuantile, empty) == 0);
  CHECK(track_value(Control::PitchRange, empty) == 0);
  CHECK(track_value(Control::KeySignature, empty) == 24);
  CHECK(track_value(Control::SilenceProportion, empty) == 9);
  CHECK(track_value(Control::Nomml, empty) == 12);
  CHECK(track_value(Control::NoteDurationDist, empty) == 3);
}

}  // namespace
