#include "encode/encoder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "support/encode_request.h"
#include "support/failing_threads.h"

namespace {

using namespace midigpt::tests;
using midigpt::encode::Status;
using midigpt::tests::OwnedWindows;
using midigpt::vocab::TokenType;

OnePiece two_bars() {
  OnePiece piece;
  piece.add_bar(4, 4);
  piece.add_bar(3, 4);
  piece.add_track(5, false);
  piece.add_note(0, 0, 480, 64, 100);
  piece.add_note(0, 0, 480, 60, 100);
  piece.add_note(1, 480, 240, 62, 50);
  piece.add_track(0, true);
  piece.add_note(0, 960, 10, 36, 100);
  return piece;
}

TEST_CASE("a document spells tracks, bars and notes in order") {
  const auto book = codebook(rich_settings());
  const OnePiece piece = two_bars();
  const Answer answer = encode_piece(*book, piece, whole(piece));
  REQUIRE(answer.error.message == "");
  CHECK(answer.status() == Status::Ok);
  CHECK(spelled(*book, answer.tokens()) ==
        "PieceStart(0) Track(0) Instrument(5) Bar(0) TimeSig(0) VelocityLevel(25) NoteOnset(60) NoteDuration(11) "
        "NoteOnset(64) NoteDuration(11) BarEnd(0) Bar(0) TimeSig(1) TimeAbsolutePos(12) VelocityLevel(13) "
        "NoteOnset(62) NoteDuration(5) BarEnd(0) TrackEnd(0) Track(1) Instrument(0) Bar(0) TimeSig(0) "
        "TimeAbsolutePos(24) VelocityLevel(25) NoteOnset(36) BarEnd(0) Bar(0) TimeSig(1) BarEnd(0) TrackEnd(0)");
}

TEST_CASE("a bar to fill in leaves a placeholder and comes last, as a target") {
  const auto book = codebook(rich_settings());
  const OnePiece piece = two_bars();
  OwnedWindows windows = whole(piece);
  windows.infill[1] = 1;
  const Answer answer = encode_piece(*book, piece, windows);
  const std::string text = spelled(*book, answer.tokens());
  CHECK(text.find("PieceStart(1)") == 0);
  CHECK(text.find("Bar(0) TimeSig(1) FillInPlaceholder(0) BarEnd(0)") != std::string::npos);
  const auto target = static_cast<std::size_t>(answer.parts[0].first_target[0]);
  const std::vector<std::int32_t> tokens = answer.tokens();
  CHECK(spelled(*book, {tokens.begin() + static_cast<std::ptrdiff_t>(target), tokens.end()}) ==
        "FillInStart(0) TimeAbsolutePos(12) VelocityLevel(13) NoteOnset(62) NoteDuration(5) FillInEnd(0)");
}

TEST_CASE("a masked bar is a mask token, a span, or only its frame") {
  const auto book = codebook(rich_settings());
  const OnePiece piece = two_bars();
  OwnedWindows windows = whole(piece);
  windows.masked[0] = 1;
  CHECK(spelled(*book, encode_piece(*book, piece, windows).tokens()).find("TimeSig(0) MaskBar(0) BarEnd(0)") !=
        std::string::npos);
  windows.masked_as = {static_cast<std::uint8_t>(midigpt::encode::MaskedAs::Span)};
  const Answer span = encode_piece(*book, piece, windows);
  REQUIRE(span.parts[0].masked_spans.size() == 1);
  const auto& masked = span.parts[0].masked_spans[0];
  CHECK(book->type_of(span.tokens()[static_cast<std::size_t>(masked.begin)]) == TokenType::Bar);
  CHECK(book->type_of(span.tokens()[static_cast<std::size_t>(masked.end) - 1]) == TokenType::BarEnd);
  windows.masked_as = {static_cast<std::uint8_t>(midigpt::encode::MaskedAs::Removed)};
  CHECK(spelled(*book, encode_piece(*book, piece, windows).tokens()).find("Bar(0) TimeSig(0) BarEnd(0) Bar(0)") !=
        std::string::npos);
}

TEST_CASE("a document without cells is cut at a bar line, one with them drops tracks or is too long") {
  const auto book = codebook(rich_settings());
  const OnePiece piece = two_bars();
  OwnedWindows windows = whole(piece);
  const std::vector<std::int32_t> all = encode_piece(*book, piece, windows).tokens();
  for (std::int32_t limit = 1; limit <= static_cast<std::int32_t>(all.size()); ++limit) {
    CAPTURE(limit);
    windows.max_tokens = {limit};
    const Answer cut = encode_piece(*book, piece, windows);
    const std::vector<std::int32_t> tokens = cut.tokens();
    CHECK(static_cast<std::int32_t>(tokens.size()) <= limit);
    CHECK(std::equal(tokens.begin(), tokens.end(), all.begin()));
    if (cut.status() == Status::Cut) CHECK(book->type_of(tokens.back()) != TokenType::NoteOnset);
    CHECK((cut.status() == Status::TooLong) == tokens.empty());
  }
  windows.infill[0] = 1;
  windows.max_tokens = {0};
  const auto length = static_cast<std::int32_t>(encode_piece(*book, piece, windows).tokens().size());
  windows.max_tokens = {length - 1};
  const Answer dropped = encode_piece(*book, piece, windows);
  CHECK(dropped.status() == Status::TracksDropped);
  CHECK(spelled(*book, dropped.tokens()).find("Track(1)") == std::string::npos);
  windows.max_tokens = {3};
  CHECK(encode_piece(*book, piece, windows).status() == Status::TooLong);
}

TEST_CASE("what the vocabulary has no value for is unsupported") {
  auto settings = rich_settings();
  settings.supports_infill = false;
  settings.num_bars_map = {4};
  OnePiece piece = two_bars();
  OwnedWindows windows = whole(piece);
  CHECK(encode_piece(*codebook(settings), piece, windows).status() == Status::UnsupportedValue);
  windows.window_bars = {4};
  CHECK(encode_piece(*codebook(settings), piece, windows).status() == Status::Ok);
  windows.infill[0] = 1;
  CHECK(encode_piece(*codebook(settings), piece, windows).status() == Status::UnsupportedValue);
  windows.infill[0] = 0;
  piece.bar_numerator[0] = 5;
  CHECK(encode_piece(*codebook(settings), piece, windows).status() == Status::UnsupportedSignature);
}

TEST_CASE("transposition, scaling and a partial track") {
  const auto book = codebook(rich_settings());
  const OnePiece piece = two_bars();
  OwnedWindows windows = whole(piece);
  windows.transpose = {70};
  windows.velocity_scale = {0.0};
  windows.partial_track = {1};
  windows.partial_bars = {1};
  const std::string text = spelled(*book, encode_piece(*book, piece, windows).tokens());
  CHECK(text.find("NoteOnset(127)") != std::string::npos);
  CHECK(text.find("NoteOnset(36)") != std::string::npos);  // drums are not transposed
  CHECK(text.find("VelocityLevel(1)") != std::string::npos);
  CHECK(text.substr(text.size() - 9) == "BarEnd(0)");  // the last track is open
}

TEST_CASE("attributes are computed, or given, or left out") {
  auto settings = rich_settings();
  settings.attribute_controls = {{midigpt::vocab::Control::NoteDensity, midigpt::vocab::Level::Track,
                                  midigpt::vocab::TrackKind::Both, midigpt::vocab::Mode::None}};
  const auto book = codebook(settings);
  const OnePiece piece = two_bars();
  OwnedWindows windows = whole(piece);
  const auto text = [&] { return spelled(*book, encode_piece(*book, piece, windows).tokens()); };
  CHECK(text().find("Instrument(5) NoteDensity(1) Bar(0)") != std::string::npos);  // 3 notes in 2 bars
  windows.gives_values = true;
  windows.attribute_values.assign(static_cast<std::size_t>(windows.max_tracks * (1 + windows.max_bars)), -1);
  windows.attribute_values[0] = 7;
  CHECK(text().find("Instrument(5) NoteDensity(7) Bar(0)") != std::string::npos);
  windows.keeps_some = true;
  windows.attributes_kept = {0};
  CHECK(text().find("NoteDensity") == std::string::npos);
}

TEST_CASE("wrong requests and damaged columns are said, never followed") {
  const auto book = codebook(rich_settings());
  const OnePiece piece = two_bars();
  const auto message = [&](auto change) {
    OwnedWindows windows = whole(piece);
    change(windows);
    return encode_piece(*book, piece, windows).error.message;
  };
  CHECK(message([](OwnedWindows& w) { w.piece = {1}; }) == "window 0: piece 1 is not one of 1");
  CHECK(message([](OwnedWindows& w) { w.tracks[0] = 2; }) == "window 0: track 2 is not one of 2");
  CHECK(message([](OwnedWindows& w) { w.start_bar = {1}; }).find("leave the piece") != std::string::npos);
  CHECK(message([](OwnedWindows& w) { w.masked_as = {3}; }) == "window 0: unknown masked_as");
  const auto damaged = [&](auto change) {
    OnePiece bad = piece;
    change(bad);
    return encode_piece(*book, bad, whole(piece)).error.message;
  };
  const std::string contradict = "window 0: the columns of its piece contradict themselves";
  CHECK(damaged([](OnePiece& p) { p.note_offsets[1] = 99; }) == contradict);
  CHECK(damaged([](OnePiece& p) { p.track_cell_end[0] = 99; }) == contradict);
  CHECK(damaged([](OnePiece& p) { p.cell_note_end[0] = 99; }) == contradict);
  CHECK(damaged([](OnePiece& p) { p.cell_note_end[0] = -1; }) == contradict);
  CHECK(damaged([](OnePiece& p) { p.bars_per_track = true, p.track_bar_end = {9, 2}; }) ==
        "window 0: the columns of its piece contradict themselves");
}

TEST_CASE("any number of threads writes the same documents, also where fewer can be made") {
  const auto book = codebook(rich_settings());
  const OnePiece piece = two_bars();
  OwnedWindows one = whole(piece);
  OwnedWindows many = one;
  constexpr std::size_t kCount = 300;  // several parts
  many.count = kCount;
  const auto repeat = [](auto& values) {
    const auto once = values;
    for (std::size_t i = 1; i < kCount; ++i) values.insert(values.end(), once.begin(), once.end());
  };
  repeat(many.piece), repeat(many.start_bar), repeat(many.num_bars), repeat(many.tracks), repeat(many.infill);
  repeat(many.masked), repeat(many.window_bars), repeat(many.transpose), repeat(many.velocity_scale);
  repeat(many.genre), repeat(many.use_velocity), repeat(many.use_microtiming), repeat(many.partial_track);
  repeat(many.partial_bars), repeat(many.masked_as), repeat(many.max_tokens);
  const std::vector<std::int32_t> expected = encode_piece(*book, piece, one).tokens();
  for (const auto& [threads, made] : {std::pair{1, 0}, {3, 2}, {9, 8}, {3, 0}, {9, 1}}) {
    const FewThreads few(made);
    const Answer answer = encode_piece(*book, piece, many, threads);
    REQUIRE(!answer.error);
    std::size_t documents = 0;
    for (const auto& part : answer.parts) {
      documents += part.ends.size();
      for (std::size_t i = 0; i < part.ends.size(); ++i) {
        const std::int64_t begin = i == 0 ? 0 : part.ends[i - 1];
        CHECK(std::vector(part.tokens.data() + begin, part.tokens.data() + part.ends[i]) == expected);
      }
    }
    CHECK(documents == kCount);
  }
}

}  // namespace
