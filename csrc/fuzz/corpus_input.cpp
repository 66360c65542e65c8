#include "fuzz/corpus_input.h"

#include <algorithm>
#include <tuple>

namespace midigpt::fuzz {

namespace {

constexpr std::size_t kMaxPieces = 3;
constexpr std::size_t kMaxTracks = 8;
constexpr std::size_t kMaxBars = 32;
constexpr std::size_t kMaxWindows = 4;

// Every column that damage can reach; the offsets first.
auto arrays(OwnedColumns& c) {
  return std::tie(c.track_offsets, c.bar_offsets, c.cell_offsets, c.note_offsets, c.tempo, c.track_program,
                  c.track_drum, c.track_nomml, c.track_cell_end, c.track_bar_end, c.bar_numerator, c.bar_denominator,
                  c.bar_length, c.cell_bar, c.cell_note_end, c.note_onset, c.note_duration, c.note_pitch,
                  c.note_velocity, c.note_microtiming);
}

auto arrays(OwnedWindows& w) {
  return std::tie(w.piece, w.start_bar, w.num_bars, w.tracks, w.infill, w.hidden, w.window_bars, w.transpose,
                  w.velocity_scale, w.genre, w.use_velocity, w.use_microtiming, w.partial_track, w.partial_bars,
                  w.hidden_as, w.attributes_kept, w.attribute_values, w.max_tokens);
}

template <class T>
void overwrite(std::vector<T>& values, Bytes& bytes) {
  const auto position = bytes.take<std::uint16_t>();
  const auto value = bytes.take<T>();
  if (!values.empty()) values[position % values.size()] = value;
}

// Overwrites one value of the array that the next byte names.
template <class... Arrays>
void overwrite_one(std::tuple<Arrays&...> all, Bytes& bytes) {
  const std::size_t wanted = bytes.below(sizeof...(Arrays));
  std::size_t index = 0;
  std::apply([&](auto&... array) { ((index++ == wanted ? overwrite(array, bytes) : void()), ...); }, all);
}

template <class Owned>
void shrink(Owned& owned) {
  std::apply([](auto&... array) { (array.shrink_to_fit(), ...); }, arrays(owned));
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
  out.tempo.push_back(500'000);
  out.track_offsets.push_back(since(out.track_program, 0));
  out.bar_offsets.push_back(since(out.bar_length, 0));
  out.cell_offsets.push_back(since(out.cell_bar, 0));
  out.note_offsets.push_back(since(out.note_onset, 0));
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
      out.hidden.push_back(bits >> 1 & 1);
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
  out.hidden_as.push_back(static_cast<std::uint8_t>(bytes.below(3)));
  out.max_tokens.push_back(bytes.take<std::int16_t>());
}

}  // namespace

encode::Shard OwnedColumns::shard() const {
  encode::Shard out;
  score::Columns& c = out.columns;
  c.resolution = resolution;
  c.num_pieces = static_cast<std::int64_t>(tempo.size());
  c.tempo = tempo.data();
  c.track_offsets = track_offsets.data();
  c.bar_offsets = bar_offsets.data();
  c.cell_offsets = cell_offsets.data();
  c.note_offsets = note_offsets.data();
  c.track_program = track_program.data();
  c.track_drum = track_drum.data();
  c.track_nomml = track_nomml.data();
  c.track_cell_end = track_cell_end.data();
  c.track_bar_end = bars_per_track ? track_bar_end.data() : nullptr;
  c.bar_numerator = bar_numerator.data();
  c.bar_denominator = bar_denominator.data();
  c.bar_length = bar_length.data();
  c.cell_bar = cell_bar.data();
  c.cell_note_end = cell_note_end.data();
  c.note_onset = note_onset.data();
  c.note_duration = note_duration.data();
  c.note_pitch = note_pitch.data();
  c.note_velocity = note_velocity.data();
  c.note_microtiming = note_microtiming.data();
  out.num_tracks = static_cast<std::int64_t>(track_program.size());
  out.num_bars = static_cast<std::int64_t>(bar_length.size());
  out.num_cells = static_cast<std::int64_t>(cell_bar.size());
  out.num_notes = static_cast<std::int64_t>(note_onset.size());
  return out;
}

void OwnedColumns::shrink_to_fit() { shrink(*this); }

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
    out.shards.push_back(columns.shard());
  }
  return out;
}

void damage(OwnedCorpus& corpus, Bytes& bytes) {
  for (std::size_t left = bytes.below(32); left > 0; --left) {
    overwrite_one(arrays(corpus.columns[bytes.below(corpus.columns.size())]), bytes);
  }
}

encode::Windows OwnedWindows::view() const {
  encode::Windows w;
  w.count = count;
  w.max_tracks = max_tracks;
  w.max_bars = max_bars;
  w.piece = piece.data();
  w.start_bar = start_bar.data();
  w.num_bars = num_bars.data();
  w.tracks = tracks.data();
  w.infill = infill.data();
  w.hidden = hidden.data();
  w.window_bars = window_bars.data();
  w.transpose = transpose.data();
  w.velocity_scale = velocity_scale.data();
  w.genre = genre.data();
  w.use_velocity = use_velocity.data();
  w.use_microtiming = use_microtiming.data();
  w.partial_track = partial_track.data();
  w.partial_bars = partial_bars.data();
  w.hidden_as = hidden_as.data();
  w.attributes_kept = keeps_some ? attributes_kept.data() : nullptr;
  w.attribute_values = gives_values ? attribute_values.data() : nullptr;
  w.compute_attributes = compute_attributes;
  return w;
}

void OwnedWindows::shrink_to_fit() { shrink(*this); }

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
  for (std::size_t left = bytes.below(32); left > 0; --left) overwrite_one(arrays(windows), bytes);
}

}  // namespace midigpt::fuzz
