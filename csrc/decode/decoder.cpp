#include "decode/decoder.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "vocab/quantisers.h"

namespace midigpt::decode {

namespace {

using vocab::Codebook;
using vocab::TokenType;

constexpr std::int32_t kTempo = 500'000;  // it has no token
constexpr std::uint8_t kDefaultVelocity = 100;
constexpr std::size_t kMaxGrowth = 16;

// Attribute types that decoding supports in addition to those that encoding writes.
constexpr auto kDecodedTrackAttributes = std::to_array<vocab::AttributeToken>({
    {"silence_proportion_min", TokenType::TrackLevelSilenceProportionMin},
    {"track_onset_density", TokenType::TrackLevelOnsetDensity},
    {"track_onset_polyphony_min", TokenType::TrackLevelOnsetPolyphonyMin},
});

template <class Row>
std::string_view name_in(std::span<const Row> rows, TokenType type) {
  for (const Row& row : rows) {
    if (row.type == type) return row.name;
  }
  return {};
}

// The name of a track's attribute token, empty if its type is none. Attributes that the encoder writes go first: a
// corrected control has a type that otherwise means nothing, or something else.
std::string_view track_attribute(const Codebook& book, TokenType type) {
  using vocab::AttributeToken;
  if (const auto name = name_in(book.track_attributes(), type); !name.empty()) return name;
  if (const auto name = name_in<AttributeToken>(vocab::kTrackAttributeTokens, type); !name.empty()) return name;
  return name_in<AttributeToken>(kDecodedTrackAttributes, type);
}

std::string_view bar_attribute(const Codebook& book, TokenType type) {
  if (const auto name = name_in(book.bar_attributes(), type); !name.empty()) return name;
  return name_in<vocab::AttributeToken>(vocab::kBarAttributeTokens, type);
}

// Reads one token after another (docs/encoder-specification.md, F.2).
class Reader {
 public:
  Reader(const Codebook& book, bool resample)
      : book_(book),
        resampler_(book.settings().resolution,
                   resample ? book.settings().decode_resolution : book.settings().resolution,
                   book.settings().emit_delta_tokens) {
    score_.resolution = book.settings().decode_resolution;
    score_.bars_per_track = true;
  }

  void read(std::int32_t token);
  DecodedScore finish() {
    close_track();
    score_.end_piece(kTempo);
    return std::move(score_);
  }

 private:
  void open_track(std::int32_t value);
  void close_track();
  void open_bar();
  void close_bar();
  void read_note_token(TokenType type, std::int32_t value);
  void add_note(std::int32_t duration);
  void read_attribute(TokenType type, std::int32_t value);
  void reset_delta();
  void move_to(std::int64_t time);

  const Codebook& book_;
  vocab::Resampler resampler_;
  DecodedScore score_;
  bool track_open_ = false;
  bool bar_open_ = false;
  bool cell_open_ = false;
  std::int32_t bar_index_ = -1;  // since the last Track token
  std::int32_t bars_of_track_ = 0;
  double beats_ = 4.0;
  std::int32_t time_ = 0;
  std::int32_t direction_ = 1;
  std::int64_t delta_ = 0;
  std::int32_t level_ = 0;
  std::optional<std::int32_t> pitch_;  // of the token just before
};

void Reader::read(std::int32_t token) {
  const TokenType type = book_.type_of(token);
  const std::int32_t value = book_.value_of(token);
  switch (type) {
    case TokenType::Track: open_track(value); break;
    case TokenType::TrackEnd: close_track(); break;
    case TokenType::Instrument:
      if (track_open_) score_.track_program.back() = static_cast<std::uint8_t>(book_.representative(value));
      break;
    case TokenType::Bar: open_bar(); break;
    case TokenType::BarEnd: close_bar(); break;
    case TokenType::TimeSig: {
      const auto& signatures = book_.settings().time_signatures;
      if (static_cast<std::size_t>(value) >= signatures.size()) break;
      const vocab::TimeSignature& signature = signatures[static_cast<std::size_t>(value)];
      beats_ = 4.0 * signature.numerator / signature.denominator;
      if (bar_open_) {
        score_.bar_numerator.back() = signature.numerator;
        score_.bar_denominator.back() = signature.denominator;
      }
      break;
    }
    case TokenType::TimeAbsolutePos: move_to(value); break;
    case TokenType::VelocityLevel: level_ = value; break;
    case TokenType::DeltaDirection:
      direction_ = -1;
      delta_ = 0;
      break;
    case TokenType::Delta: delta_ += std::int64_t{direction_} * value; break;
    case TokenType::NoteOnset:
    case TokenType::NotePitch:
    case TokenType::NoteDuration: read_note_token(type, value); break;
    default: read_attribute(type, value); break;
  }
  const bool pitched = type == TokenType::NoteOnset || type == TokenType::NotePitch;
  pitch_ = pitched ? std::optional(std::min(value, 127)) : std::nullopt;
}

void Reader::open_track(std::int32_t value) {
  if (!track_open_) {
    score_.track_program.push_back(0);
    score_.track_drum.push_back(0);
    score_.track_nomml.push_back(-1);
    score_.track_attributes.emplace_back();
    bars_of_track_ = 0;
    track_open_ = true;
  }
  score_.track_drum.back() = value == 1;
  bar_open_ = false;
  bar_index_ = -1;
  level_ = 0;
  move_to(0);
}

void Reader::close_track() {
  // A track end without a track says nothing.
  if (!track_open_) return;
  score_.track_cell_end.push_back(static_cast<std::int32_t>(score_.cell_bar.size()));
  score_.track_bar_end.push_back(static_cast<std::int32_t>(score_.bar_length.size()));
  track_open_ = false;
  bar_open_ = false;
}

void Reader::open_bar() {
  if (!track_open_) return;
  score_.bar_numerator.push_back(4);
  score_.bar_denominator.push_back(4);
  score_.bar_length.push_back(0.0);
  ++bars_of_track_;
  ++bar_index_;
  bar_open_ = true;
  cell_open_ = false;
  beats_ = 4.0;
  move_to(0);
}

void Reader::close_bar() {
  if (!bar_open_) return;
  score_.bar_length.back() = beats_;
  time_ = vocab::saturate(beats_ * book_.settings().decode_resolution + 0.5);
}

void Reader::read_note_token(TokenType type, std::int32_t value) {
  if (type == TokenType::NoteDuration) {
    if (bar_index_ < 0) {
      read_attribute(type, value);
    } else if (bar_open_ && pitch_) {
      add_note(value + 1);
    }
    return;
  }
  if (!track_open_ || !bar_open_ || score_.track_drum.back() == 0) return;
  pitch_ = std::min(value, 127);
  add_note(1);
}

void Reader::add_note(std::int32_t duration) {
  if (!cell_open_) {
    score_.cell_bar.push_back(bars_of_track_ - 1);
    score_.cell_note_end.push_back(0);
    cell_open_ = true;
  }
  const vocab::GridNote note = resampler_(time_, duration, vocab::saturate(static_cast<double>(delta_)));
  const std::int32_t velocity = book_.velocity_levels().velocity(level_);
  score_.note_onset.push_back(note.onset);
  score_.note_duration.push_back(note.duration);
  score_.note_pitch.push_back(static_cast<std::uint8_t>(*pitch_));
  score_.note_velocity.push_back(level_ > 0 ? static_cast<std::uint8_t>(velocity) : kDefaultVelocity);
  score_.note_microtiming.push_back(note.delta);
  score_.cell_note_end.back() = static_cast<std::int32_t>(score_.note_onset.size());
  reset_delta();
}

void Reader::read_attribute(TokenType type, std::int32_t value) {
  if (!track_open_) return;
  std::string name;
  if (bar_index_ < 0) {
    name = type == TokenType::NoteDuration ? "note_duration_dist" : std::string(track_attribute(book_, type));
  } else if (const std::string_view bar = bar_attribute(book_, type); !bar.empty()) {
    name = "bar_" + std::string(bar) + "_" + std::to_string(bar_index_);
  } else {
    name = track_attribute(book_, type);
  }
  if (!name.empty()) score_.track_attributes.back().emplace_back(std::move(name), value);
}

void Reader::reset_delta() {
  delta_ = 0;
  direction_ = 1;
}

void Reader::move_to(std::int64_t time) {
  time_ = static_cast<std::int32_t>(time);
  reset_delta();
}

}  // namespace

std::optional<std::vector<std::int32_t>> resolve_infill(const Codebook& book, std::span<const std::int32_t> tokens) {
  std::vector<std::int32_t> out(tokens.begin(), tokens.end());
  if (!book.can_infill()) return out;
  const auto is = [&book](TokenType type) {
    return [&book, type](std::int32_t token) { return book.type_of(token) == type; };
  };
  const auto first_block = std::find_if(tokens.begin(), tokens.end(), is(TokenType::FillInStart));
  out.clear();
  auto block = first_block;
  for (auto token = tokens.begin(); token != first_block; ++token) {
    if (book.type_of(*token) != TokenType::FillInPlaceholder || block == tokens.end()) {
      out.push_back(*token);
      continue;
    }
    // A fill block without an end runs into the next one, which still counts as a fill block of its own.
    const auto block_end = std::find_if(block, tokens.end(), is(TokenType::FillInEnd));
    if (out.size() + static_cast<std::size_t>(block_end - block) > kMaxGrowth * tokens.size()) return std::nullopt;
    out.insert(out.end(), block + 1, block_end);
    block = std::find_if(block + 1, tokens.end(), is(TokenType::FillInStart));
  }
  return out;
}

DecodeResult decode(const Codebook& book, std::span<const std::int32_t> tokens, bool resample) {
  DecodeResult result;
  if (book.size(TokenType::VelocityLevel) == 1) {
    result.error = "the encoder has one velocity level, which means no velocity";
    return result;
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < book.vocab_size()) continue;
    result.error = "token " + std::to_string(i) + " is " + std::to_string(tokens[i]) + ", outside the vocabulary of " +
                   std::to_string(book.vocab_size());
    return result;
  }
  Reader reader(book, resample);
  const auto resolved = resolve_infill(book, tokens);
  if (!resolved) {
    result.error = "the infill blocks have no ends";
    return result;
  }
  for (const std::int32_t token : *resolved) reader.read(token);
  result.score = reader.finish();
  return result;
}

}  // namespace midigpt::decode
