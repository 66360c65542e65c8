#include "fuzz/corpus_input.h"

#include <algorithm>
#include <tuple>

namespace midigpt::fuzz {

namespace {

constexpr std::size_t kMaxPieces = 3;
constexpr std::size_t kMaxTracks = 8;
constexpr std::size_t kMaxBars = 32;
constexpr std::size_t kMaxWindows = 4;

template <class T>
void overwrite(std::vector<T>& values, Bytes& bytes) {
  const auto position = bytes.take<std::uint16_t>();
  const auto value = bytes.take<T>();
  if (!values.empty()) values[position % values.size()] = value;
}

// Overwrites one value of the column that the next byte names.
void overwrite_one(OwnedColumns& columns, Bytes& bytes) {
  const std::size_t wanted = bytes.below(score::kColumns);
  std::size_t index = 0;
  for_each_column(columns, [&](auto, auto& array) {
    if (index++ == wanted) overwrite(array, bytes);
  });
}

// Overwrites one value of the array that the next byte names.
template <class... Arrays>
void overwrite_one(std::tuple<Arrays&...> all, Bytes& bytes) {
  const std::size_t wanted = bytes.below(sizeof...(Arrays));
  std::size_t index = 0;
  std::apply([&](auto&... array) { ((index++ == wanted ? overwrite(array, bytes) : void()), ...); }, all);
}

void take_bars(Bytes& bytes, OwnedColumns& out) {
  for (std::size_t left = bytes.below(kMaxBars + 1); left > 0; --left) {
    const auto numerator = bytes.take<std::uint8_t>();
    const auto denominator = bytes.take<std::uint8_t>();
    out.bar_numerator.push_back(numerator);
    out.bar_denominator.push_back(denominator);
    out.bar_length.push_back(denominator == 0 ? bytes.take<double>() : 4.0 * numerator / denominator);
  }
}

std::int32_t since(const auto& values, std::int64_t begin) {
  return static_cast<std::int32_t>(static_cast<std::int64_t>(values.size()) - begin);
}

void take_notes(Bytes& bytes, std::int32_t num_bars, OwnedColumns& out) {
  const std::int64_t first_note = out.note_offsets.back();
  std::int32_t bar = 0;
  std::int32_t cell = -1;
  for (std::size_t left = bytes.take<std::uint16_t>(); left > 0 && !bytes.empty() && num_bars > 0; --left) {
    bar = std::min(bar + bytes.take<std::uint8_t>(), num_bars - 1);
    if (bar != cell) {
      out.cell_bar.push_back(bar);
      out.cell_note_end.push_back(0);
      cell = bar;
    }
    out.note_onset.push_back(bytes.take<std::uint16_t>());
    out.note_duration.push_back(bytes.take<std::uint16_t>());
    out.note_pitch.push_back(bytes.take<std::uint8_t>());
    out.note_velocity.push_back(bytes.take<std::uint8_t>());
    out.note_microtiming.push_back(bytes.take<std::int16_t>());
    out.cell_note_end.back() = since(out.note_onset, first_note);
  }
}

void take_piece(Bytes& bytes, OwnedColumns& out) {
  const std::int64_t first_bar = out.bar_offsets.back();
  if (!out.bars_per_track) take_bars(bytes, out);
  for (std::size_t left = bytes.below(kMaxTracks + 1); left > 0; --left) {
    out.track_program.push_back(bytes.take<std::uint8_t>());
    out.track_drum.push_back(bytes.take<std::uint8_t>());
    out.track_nomml.push_back(bytes.take<std::int8_t>());
    const std::int32_t before = out.bars_per_track ? since(out.bar_length, first_bar) : 0;
    if (out.bars_per_track) take_bars(bytes, out);
    take_notes(bytes, since(out.bar_length, first_bar) - before, out);
    out.track_cell_end.push_back(since(out.cell_bar, out.cell_offsets.back()));
    out.track_bar_end.push_back(since(out.bar_length, first_bar));
  }
  out.end_piece(500'000);
}

std::int64_t bars_of(const OwnedColumns& columns, std::size_t piece) {
  if (!columns.bars_per_track) return columns.bar_offsets[piece + 1] - columns.bar_offsets[piece];
  std::int64_t largest = 0;
  std::int64_t before = 0;
  for (std::int64_t track = columns.track_offsets[piece]; track < columns.track_offsets[piece + 1]; ++track) {
    const std::int64_t end = columns.track_bar_end[static_cast<std::size_t>(track)];
    largest = std::max(largest, end - before);
    before = end;
  }
  return largest;
}

// Tracks and bars of a piece by its number in the corpus.
std::tuple<std::int64_t, std::int64_t> extent(const OwnedCorpus& corpus, std::size_t piece) {
  std::size_t shard = 0;
  while (static_cast<std::int64_t>(piece) >= corpus.piece_offsets[shard + 1]) ++shard;
  const OwnedColumns& columns = corpus.columns[shard];
  const std::size_t local = piece - static_cast<std::size_t>(corpus.piece_offsets[shard]);
  return {columns.track_offsets[local + 1] - columns.track_offsets[local], bars_of(columns, local)};
}

void take_window(Bytes& bytes, const OwnedCorpus& corpus, OwnedWindows& out) {
  const std::size_t piece = bytes.below(static_cast<std::size_t>(corpus.piece_offsets.back()));
  const auto [tracks, bars] = extent(corpus, piece);
  const auto start = static_cast<std::int64_t>(bytes.below(static_cast<std::size_t>(bars) + 1));
  const std::int64_t most = std::min(bars - start, out.max_bars);
  out.piece.push_back(static_cast<std::int64_t>(piece));
  out.start_bar.push_back(static_cast<std::int32_t>(start));
  out.num_bars.push_back(static_cast<std::int32_t>(bytes.below(static_cast<std::size_t>(most) + 1)));
  for (std::int64_t slot = 0; slot < out.max_tracks; ++slot) {
    out.tracks.push_back(static_cast<std::int32_t>(bytes.below(static_cast<std::size_t>(tracks) + 1)) - 1);
  }
  for (std::int64_t slot = 0; slot < out.max_tracks; ++slot) {
    std::uint8_t bits = 0;
    for (std::int64_t bar = 0; bar < out.max_bars; ++bar) {
      bits = bar % 2 == 0 ? bytes.take<std::uint8_t>() : static_cast<std::uint8_t>(bits >> 4);
      out.infill.push_back(bits & 1);
      out.masked.push_back(bits >> 1 & 1);
    }
  }
  out.window_bars.push_back(bytes.take<std::int8_t>());
  out.transpose.push_back(bytes.take<std::int16_t>());
  const auto scale = bytes.take<std::uint8_t>();
  out.velocity_scale.push_back(scale == 0 ? __builtin_nan("") : scale / 64.0);
  out.genre.push_back(bytes.take<std::int8_t>());
  out.use_velocity.push_back(bytes.take<std::int8_t>());
  out.use_microtiming.push_back(bytes.take<std::int8_t>());
  out.partial_track.push_back(bytes.take<std::int8_t>());
  out.partial_bars.push_back(bytes.take<std::int8_t>());
  out.masked_as.push_back(static_cast<std::uint8_t>(bytes.below(3)));
  out.max_tokens.push_back(bytes.take<std::int16_t>());
}

}  // namespace

OwnedCorpus corpus_from(Bytes& bytes) {
  OwnedCorpus out;
  for (std::size_t left = 1 + bytes.below(2); left > 0; --left) {
    OwnedColumns& columns = out.columns.emplace_back();
    columns.resolution = std::max<std::int32_t>(bytes.take<std::uint16_t>(), 1);
    columns.bars_per_track = bytes.flag();
    for (std::size_t pieces = 1 + bytes.below(kMaxPieces); pieces > 0; --pieces) take_piece(bytes, columns);
    out.piece_offsets.push_back(out.piece_offsets.back() + since(columns.tempo, 0));
  }
  for (OwnedColumns& columns : out.columns) {
    columns.shrink_to_fit();
    out.shards.push_back(columns.bounded());
  }
  return out;
}

void damage(OwnedCorpus& corpus, Bytes& bytes) {
  for (std::size_t left = bytes.below(32); left > 0; --left) {
    overwrite_one(corpus.columns[bytes.below(corpus.columns.size())], bytes);
  }
}

OwnedWindows windows_from(Bytes& bytes, const OwnedCorpus& corpus, std::size_t controls) {
  OwnedWindows out;
  const auto flags = bytes.take<std::uint8_t>();
  out.keeps_some = (flags & 1) != 0;
  out.gives_values = (flags & 2) != 0;
  out.compute_attributes = (flags & 4) != 0;
  out.count = static_cast<std::int64_t>(bytes.below(kMaxWindows + 1));
  out.max_tracks = static_cast<std::int64_t>(bytes.below(kMaxTracks + 1));
  out.max_bars = static_cast<std::int64_t>(bytes.below(kMaxBars + 1));
  for (std::int64_t window = 0; window < out.count; ++window) take_window(bytes, corpus, out);
  const auto count = static_cast<std::size_t>(out.count);
  const auto rows = static_cast<std::size_t>(out.max_tracks * (1 + out.max_bars));
  out.attributes_kept.assign(count * controls, 1);
  out.attribute_values.assign(count * rows * controls, -1);
  out.shrink_to_fit();
  return out;
}

void damage(OwnedWindows& windows, Bytes& bytes) {
  for (std::size_t left = bytes.below(32); left > 0; --left) overwrite_one(windows.arrays(), bytes);
}

}  // namespace midigpt::fuzz
