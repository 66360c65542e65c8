// The one table of token types. Numbers identify types in every trained model's vocabulary, so they never change. Two
// names with one number share a slot of the vocabulary.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace midigpt::vocab {

// X(number, canonical name, upper-case name of older files or "", alias or "")
#define MIDIGPT_TOKEN_TYPES(X) \
  X(0, PieceStart, "TOKEN_PIECE_START", "") \
  X(1, NoteOnset, "TOKEN_NOTE_ONSET", "") \
  X(2, NoteOffset, "TOKEN_NOTE_OFFSET", "") \
  X(3, NotePitch, "TOKEN_PITCH", "") \
  X(4, NonPitch, "TOKEN_NON_PITCH", "") \
  X(5, Velocity, "TOKEN_VELOCITY", "") \
  X(6, TimeDelta, "TOKEN_TIME_DELTA", "") \
  X(7, TimeAbsolutePos, "TOKEN_TIME_ABSOLUTE_POS", "") \
  X(8, Instrument, "TOKEN_INSTRUMENT", "") \
  X(9, Bar, "TOKEN_BAR", "") \
  X(10, BarEnd, "TOKEN_BAR_END", "") \
  X(11, Track, "TOKEN_TRACK", "") \
  X(12, TrackEnd, "TOKEN_TRACK_END", "") \
  X(13, DrumTrack, "TOKEN_DRUM_TRACK", "") \
  X(14, FillIn, "TOKEN_FILL_IN", "") \
  X(15, FillInPlaceholder, "TOKEN_FILL_IN_PLACEHOLDER", "") \
  X(16, FillInStart, "TOKEN_FILL_IN_START", "") \
  X(17, FillInEnd, "TOKEN_FILL_IN_END", "") \
  X(18, Header, "TOKEN_HEADER", "") \
  X(19, VelocityLevel, "TOKEN_VELOCITY_LEVEL", "") \
  X(20, Genre, "TOKEN_GENRE", "") \
  X(21, NoteDensity, "TOKEN_DENSITY_LEVEL", "") \
  X(22, TimeSig, "TOKEN_TIME_SIGNATURE", "") \
  X(23, Segment, "TOKEN_SEGMENT", "") \
  X(24, SegmentEnd, "TOKEN_SEGMENT_END", "") \
  X(25, SegmentFillIn, "TOKEN_SEGMENT_FILL_IN", "") \
  X(26, NoteDuration, "TOKEN_NOTE_DURATION", "NoteDurationDist") \
  X(27, AvPolyphony, "TOKEN_AV_POLYPHONY", "") \
  X(28, MinPolyphony, "TOKEN_MIN_POLYPHONY", "") \
  X(29, MaxPolyphony, "TOKEN_MAX_POLYPHONY", "") \
  X(30, MinNoteDuration, "TOKEN_MIN_NOTE_DURATION", "") \
  X(31, MaxNoteDuration, "TOKEN_MAX_NOTE_DURATION", "") \
  X(32, NumBars, "TOKEN_NUM_BARS", "") \
  X(33, MinPolyphonyHard, "TOKEN_MIN_POLYPHONY_HARD", "") \
  X(34, MaxPolyphonyHard, "TOKEN_MAX_POLYPHONY_HARD", "") \
  X(35, MinNoteDurationHard, "TOKEN_MIN_NOTE_DURATION_HARD", "") \
  X(36, MaxNoteDurationHard, "TOKEN_MAX_NOTE_DURATION_HARD", "") \
  X(37, RestPercentage, "TOKEN_REST_PERCENTAGE", "") \
  X(38, PitchClass, "TOKEN_PITCH_CLASS", "") \
  X(39, PitchClassCount, "TOKEN_PITCH_CLASS_COUNT", "") \
  X(40, BarLevelOnsetDensity, "TOKEN_BAR_LEVEL_ONSET_DENSITY", "") \
  X(41, BarLevelOnsetPolyphonyMin, "TOKEN_BAR_LEVEL_ONSET_POLYPHONY_MIN", "") \
  X(42, BarLevelOnsetPolyphonyMax, "TOKEN_BAR_LEVEL_ONSET_POLYPHONY_MAX", "OnsetPolyphony") \
  X(43, TrackLevelOnsetDensity, "TOKEN_TRACK_LEVEL_ONSET_DENSITY", "") \
  X(44, TrackLevelOnsetPolyphonyMin, "TOKEN_TRACK_LEVEL_ONSET_POLYPHONY_MIN", "") \
  X(45, TrackLevelOnsetPolyphonyMax, "TOKEN_TRACK_LEVEL_ONSET_POLYPHONY_MAX", "") \
  X(46, TrackLevelOnsetDensityMin, "TOKEN_TRACK_LEVEL_ONSET_DENSITY_MIN", "") \
  X(47, TrackLevelOnsetDensityMax, "TOKEN_TRACK_LEVEL_ONSET_DENSITY_MAX", "") \
  X(48, TrackLevelPitchRangeMin, "TOKEN_TRACK_LEVEL_PITCH_RANGE_MIN", "") \
  X(49, TrackLevelPitchRangeMax, "TOKEN_TRACK_LEVEL_PITCH_RANGE_MAX", "PitchRange") \
  X(50, KeySignature, "TOKEN_KEY_SIGNATURE", "") \
  X(51, BarLevelPitchClassSet, "TOKEN_BAR_LEVEL_PITCH_CLASS_SET", "PitchClassSet") \
  X(52, TrackLevelSilenceProportionMin, "TOKEN_TRACK_LEVEL_SILENCE_PROPORTION_MIN", "") \
  X(53, TrackLevelSilenceProportionMax, "TOKEN_TRACK_LEVEL_SILENCE_PROPORTION_MAX", "SilenceProportion") \
  X(54, ValenceSpotify, "TOKEN_VALENCE_SPOTIFY", "") \
  X(55, EnergySpotify, "TOKEN_ENERGY_SPOTIFY", "") \
  X(56, DanceabilitySpotify, "TOKEN_DANCEABILITY_SPOTIFY", "") \
  X(57, Danceability, "TOKEN_DANCEABILITY", "") \
  X(58, Tension, "TOKEN_BAR_LEVEL_TENSION", "") \
  X(59, ContainsNoteDurationThirtySecond, "TOKEN_CONTAINS_NOTE_DURATION_THIRTY_SECOND", "") \
  X(60, ContainsNoteDurationSixteenth, "TOKEN_CONTAINS_NOTE_DURATION_SIXTEENTH", "") \
  X(61, ContainsNoteDurationEighth, "TOKEN_CONTAINS_NOTE_DURATION_EIGHTH", "") \
  X(62, ContainsNoteDurationQuarter, "TOKEN_CONTAINS_NOTE_DURATION_QUARTER", "") \
  X(63, ContainsNoteDurationHalf, "TOKEN_CONTAINS_NOTE_DURATION_HALF", "") \
  X(64, ContainsNoteDurationWhole, "TOKEN_CONTAINS_NOTE_DURATION_WHOLE", "") \
  X(65, WnbdSyncopation, "TOKEN_WNBD_SYNCOPATION", "") \
  X(66, Repetition, "TOKEN_REPETITION", "") \
  X(68, Delta, "TOKEN_DELTA", "") \
  X(69, DeltaDirection, "TOKEN_DELTA_DIRECTION", "") \
  X(70, None, "TOKEN_NONE", "PieceEnd") \
  X(71, MaskBar, "TOKEN_MASK_BAR", "") \
  X(77, TensionDrum, "TOKEN_BAR_LEVEL_TENSION_DRUM", "") \
  X(86, UseVelocity, "", "") \
  X(87, UseMicrotiming, "", "") \
  X(88, TrackLevelNomml, "", "")

enum class TokenType : std::uint8_t {
#define MIDIGPT_ENUMERATOR(number, name, legacy, alias) name = number,
  MIDIGPT_TOKEN_TYPES(MIDIGPT_ENUMERATOR)
#undef MIDIGPT_ENUMERATOR
};

struct TokenTypeInfo {
  TokenType type;
  std::string_view name;
  std::string_view legacy_name;
  std::string_view alias;
};

inline constexpr auto kTokenTypes = std::to_array<TokenTypeInfo>({
#define MIDIGPT_ROW(number, name, legacy, alias) {TokenType::name, #name, legacy, alias},
    MIDIGPT_TOKEN_TYPES(MIDIGPT_ROW)
#undef MIDIGPT_ROW
});

// One more than the largest number of the table.
inline constexpr std::size_t kTokenTypeCount = 89;

// The types of attribute controls that plugins compute have the numbers from kFirstExternal on, in their order.
inline constexpr std::size_t kFirstExternal = 128;
inline constexpr std::size_t kMaxExternal = 64;
static_assert(kTokenTypeCount <= kFirstExternal);

constexpr TokenType external_type(std::size_t index) { return static_cast<TokenType>(kFirstExternal + index); }

constexpr std::size_t index_of(TokenType type) { return static_cast<std::size_t>(type); }

// The type that a canonical name, alias or upper-case name says.
constexpr std::optional<TokenType> token_type(std::string_view spelling) {
  if (spelling.empty()) return std::nullopt;
  for (const TokenTypeInfo& row : kTokenTypes) {
    if (spelling == row.name || spelling == row.alias || spelling == row.legacy_name) return row.type;
  }
  return std::nullopt;
}

constexpr std::string_view canonical_name(TokenType type) {
  for (const TokenTypeInfo& row : kTokenTypes) {
    if (row.type == type) return row.name;
  }
  return {};
}

static_assert(index_of(kTokenTypes.back().type) + 1 == kTokenTypeCount);

}  // namespace midigpt::vocab
