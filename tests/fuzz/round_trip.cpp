// Encoding what was decoded from tokens gives the same tokens, for every request that a decoded score can repeat.
//
// That is promised where decoding does not lose anything that encoding reads again; keep() says where.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "decode/decoder.h"
#include "encode/encoder.h"
#include "fuzz/check.h"
#include "fuzz/columns_check.h"
#include "fuzz/corpus_input.h"
#include "fuzz/settings_input.h"
#include "fuzz/targets.h"
#include "vocab/codebook.h"

namespace midigpt::fuzz {

namespace {

// Where more notes start together, equal pitches come in no order that could be kept.
constexpr std::int64_t kMaxChord = 16;

std::int32_t within(std::int32_t value, std::int32_t low, std::int32_t high) {
  const auto count = static_cast<std::uint32_t>(high - low + 1);
  return low + static_cast<std::int32_t>(static_cast<std::uint32_t>(value) % count);
}

// Takes settings to some whose grids nest and whose vocabulary has everything that is written.
void keep(vocab::Settings& settings) {
  settings.supports_infill = true;
  settings.emit_delta_tokens = settings.emit_delta_tokens || settings.signed_deltas;
  settings.resolution = within(settings.resolution, 4, 48);
  // With microtiming a position is a real number: these ratios are those of the presets, for which it is exact.
  constexpr std::int32_t kRatios[]{1, 20, 160};
  const std::int32_t ratio = within(settings.decode_resolution, 1, 192);
  const bool microtiming = settings.emit_delta_tokens || settings.switchable_microtiming;
  settings.decode_resolution = settings.resolution * (microtiming ? kRatios[ratio % 3] : ratio);
  settings.pitch_min = within(settings.pitch_min, 0, 127);
  settings.pitch_max = within(settings.pitch_max, settings.pitch_min, 127);
  settings.velocity_levels = within(settings.velocity_levels, 2, 128);
  settings.note_duration_max_beats = within(settings.note_duration_max_beats, 1, 64);
  settings.num_genres = within(settings.num_genres, 0, 40);
  for (vocab::TimeSignature& signature : settings.time_signatures) {
    signature = {within(signature.numerator, 1, 32), 1 << within(signature.denominator, 0, 5)};
  }
  settings.time_signatures.push_back({4, 4});
  // A program in two groups may stand for another instrument than the one it is shown as.
  settings.instrument_merge_groups.resize(std::min<std::size_t>(settings.instrument_merge_groups.size(), 1));
  for (auto& group : settings.instrument_merge_groups) {
    for (std::int32_t& program : group) program = within(program, 0, 127);
  }
  settings.num_bars_map.clear();
  settings.attribute_controls.clear();  // what a decoded score measures up to is another number
  settings.token_domains.clear();
}

// Takes the notes of the corpus into their bars, and the bars to signatures that the encoder has.
void keep(OwnedColumns& columns, const vocab::Settings& settings) {
  columns.resolution = 480;
  for (std::size_t bar = 0; bar < columns.bar_length.size(); ++bar) {
    const auto index = static_cast<std::size_t>(columns.bar_numerator[bar]) % settings.time_signatures.size();
    const vocab::TimeSignature& signature = settings.time_signatures[index];
    columns.bar_numerator[bar] = signature.numerator;
    columns.bar_denominator[bar] = signature.denominator;
    columns.bar_length[bar] = 4.0 * signature.numerator / signature.denominator;
  }
  std::fill(columns.track_nomml.begin(), columns.track_nomml.end(), std::int8_t{-1});
  for (std::uint8_t& program : columns.track_program) program &= 127;
  for (std::uint8_t& pitch : columns.note_pitch) pitch &= 127;
  for (std::uint8_t& velocity : columns.note_velocity) velocity = static_cast<std::uint8_t>(1 + velocity % 127);
  for (std::int32_t& duration : columns.note_duration) duration = std::max(duration, 1);
}

// Takes the notes of a bar into it; the bar lasts `ticks`.
void keep_notes(OwnedColumns& columns, score::Run notes, std::int32_t ticks) {
  for (auto note = static_cast<std::size_t>(notes.begin); note < static_cast<std::size_t>(notes.end); ++note) {
    columns.note_onset[note] = within(columns.note_onset[note], 0, ticks - 1);
    columns.note_microtiming[note] = std::clamp(columns.note_microtiming[note], -240, 240);
  }
}

// False if a bar has too many notes.
bool keep_notes(OwnedColumns& columns) {
  const score::BoundedColumns shard = columns.bounded();
  for (std::int64_t index = 0; index < shard.columns.num_pieces; ++index) {
    const score::PieceView piece(shard.columns, index);
    for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
      const score::Run cells = piece.cells(track);
      for (std::int64_t cell = cells.begin; cell < cells.end; ++cell) {
        const score::Run notes = piece.notes(cell);
        if (notes.size() > kMaxChord) return false;
        const auto bar = static_cast<std::size_t>(piece.bars(track).begin + shard.columns.cell_bar[cell]);
        keep_notes(columns, notes, static_cast<std::int32_t>(columns.bar_length[bar] * columns.resolution));
      }
    }
  }
  return true;
}

// Takes windows to requests that say the same of a decoded score: nothing measured, removed or cut.
void keep(OwnedWindows& windows) {
  windows.compute_attributes = false;
  windows.keeps_some = windows.gives_values = false;
  std::fill(windows.partial_track.begin(), windows.partial_track.end(), -1);
  constexpr auto span = static_cast<std::uint8_t>(encode::MaskedAs::Span);
  for (std::uint8_t& masked_as : windows.masked_as) masked_as = std::min(masked_as, span);
  std::fill(windows.max_tokens.begin(), windows.max_tokens.end(), 0);
}

std::vector<std::int32_t> encoded(const vocab::Codebook& book, const encode::Corpus& corpus,
                                  const encode::Windows& windows) {
  const std::int32_t no_limit = 0;
  std::vector<encode::Documents> parts;
  const encode::RequestError error = encode::encode_batch(book, corpus, windows, &no_limit, 1, parts);
  FUZZ_CHECK(!error);
  FUZZ_CHECK(parts[0].status[0] == encode::Status::Ok);
  return {parts[0].tokens.data(), parts[0].tokens.data() + parts[0].tokens.size()};
}

// Window `index` alone; and as a window over the score that its tokens decode to.
encode::Windows single(const encode::Windows& all, std::int64_t index) {
  encode::Windows one = all;
  one.count = 1;
  one.piece += index;
  one.start_bar += index;
  one.num_bars += index;
  one.tracks += index * all.max_tracks;
  one.infill += index * all.max_tracks * all.max_bars;
  one.masked += index * all.max_tracks * all.max_bars;
  one.window_bars += index;
  one.transpose += index;
  one.velocity_scale += index;
  one.genre += index;
  one.use_velocity += index;
  one.use_microtiming += index;
  one.partial_track += index;
  one.partial_bars += index;
  one.masked_as += index;
  return one;
}

void check_window(const vocab::Codebook& book, const OwnedCorpus& corpus, const encode::Windows& window) {
  const std::vector<std::int32_t> tokens = encoded(book, corpus.view(), window);
  const midigpt::decode::DecodeResult decoded = midigpt::decode::decode(book, tokens, true);
  FUZZ_CHECK(decoded.error.empty());
  check_decoded(decoded.score);
  const std::array shards{decoded.score.bounded()};
  const std::array<std::int64_t, 2> offsets{0, 1};

  const std::int64_t piece = 0;
  const std::int32_t start_bar = 0;
  const std::int32_t transpose = 0;
  const double velocity_scale = __builtin_nan("");
  std::int32_t num_bars = 0;
  std::vector<std::int32_t> tracks(static_cast<std::size_t>(window.max_tracks), -1);
  for (std::size_t track = 0; track < decoded.score.track_program.size(); ++track) {
    FUZZ_CHECK(track < tracks.size());
    tracks[track] = static_cast<std::int32_t>(track);
    const score::Run bars = score::PieceView(shards[0].columns, 0).bars(tracks[track]);
    num_bars = std::max(num_bars, static_cast<std::int32_t>(bars.size()));
  }
  encode::Windows again = window;
  again.piece = &piece;
  again.start_bar = &start_bar;
  again.num_bars = &num_bars;
  again.tracks = tracks.data();
  again.transpose = &transpose;
  again.velocity_scale = &velocity_scale;
  FUZZ_CHECK(encoded(book, {shards, offsets.data()}, again) == tokens);
}

}  // namespace

void round_trip(Input input) {
  Bytes bytes(input);
  vocab::Settings settings = settings_from(bytes);
  keep(settings);
  std::string refused;
  const auto book = vocab::Codebook::build(settings, refused);
  FUZZ_CHECK(book != nullptr);
  OwnedCorpus corpus = corpus_from(bytes);
  for (OwnedColumns& columns : corpus.columns) {
    keep(columns, book->settings());
    if (!keep_notes(columns)) return;
  }
  corpus.shards.clear();
  for (const OwnedColumns& columns : corpus.columns) corpus.shards.push_back(columns.bounded());
  OwnedWindows windows = windows_from(bytes, corpus, 0);
  keep(windows);
  const encode::Windows view = windows.view();
  for (std::int64_t window = 0; window < view.count; ++window) check_window(*book, corpus, single(view, window));
}

}  // namespace midigpt::fuzz
