#include "encode/window.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "vocab/quantisers.h"

namespace midigpt::encode {

namespace {

using score::Columns;
using score::Run;

struct PieceSource {
  const score::BoundedColumns* shard = nullptr;
  std::int64_t piece = 0;  // within the shard
};

PieceSource find_piece(const Corpus& corpus, std::int64_t piece) {
  const std::int64_t* offsets = corpus.piece_offsets;
  const auto shards = static_cast<std::ptrdiff_t>(corpus.shards.size());
  const std::ptrdiff_t shard = std::upper_bound(offsets, offsets + shards + 1, piece) - offsets - 1;
  return {&corpus.shards[static_cast<std::size_t>(shard)], piece - offsets[shard]};
}

// Largest bar count of the piece's tracks; -1 if the columns contradict themselves.
std::int64_t bars_of_piece(const score::PieceView& piece) {
  if (piece.columns().track_bar_end == nullptr) return piece.bars().size();
  std::int64_t largest = 0;
  for (std::int64_t track = 0; track < piece.num_tracks(); ++track) {
    const Run bars = piece.bars(track);
    if (!bars.is_inside(piece.bars())) return -1;
    largest = std::max(largest, bars.size());
  }
  return largest;
}

std::string describe(std::int64_t window, const std::string& what) {
  return "window " + std::to_string(window) + ": " + what;
}

// Value of note_duration_dist (docs/encoder-specification.md, E.2, 10): the most frequent level, the first met among
// equals.
std::int32_t duration_mode(std::span<const Note> notes, std::int32_t resolution) {
  if (notes.empty()) return 3;
  std::array<std::int64_t, 6> count{};
  std::array<std::size_t, 6> first{};
  for (std::size_t i = 0; i < notes.size(); ++i) {
    const double eighths = std::max(8.0 * notes[i].duration / resolution, 1.0);
    const auto level = std::min<std::size_t>(static_cast<std::size_t>(std::log2(eighths)), 5);
    if (count[level]++ == 0) first[level] = i;
  }
  std::size_t best = 0;
  for (std::size_t level = 1; level < count.size(); ++level) {
    if (count[level] > count[best] || (count[level] == count[best] && first[level] < first[best])) best = level;
  }
  return static_cast<std::int32_t>(best);
}

// The last position of the grid in a bar of this signature, the only information about the bar that decoding gets.
std::int32_t last_position(const vocab::TimeSignature& signature, std::int32_t resolution) {
  if (signature.denominator < 1) return 0;
  const double cells = 4.0 * signature.numerator / signature.denominator * resolution;
  return std::max(1, vocab::saturate(std::ceil(cells))) - 1;
}

}  // namespace

RequestError check_windows(const Corpus& corpus, const Windows& w) {
  for (std::int64_t n = 0; n < w.count; ++n) {
    if (w.piece[n] < 0 || w.piece[n] >= corpus.num_pieces()) {
      return {
          describe(n, "piece " + std::to_string(w.piece[n]) + " is not one of " + std::to_string(corpus.num_pieces()))};
    }
    const PieceSource source = find_piece(corpus, w.piece[n]);
    const score::PieceView piece(source.shard->columns, source.piece);
    const std::int64_t bars = source.shard->is_sound(piece) ? bars_of_piece(piece) : -1;
    if (bars < 0) return {describe(n, "the columns of its piece contradict themselves")};
    if (w.start_bar[n] < 0 || w.num_bars[n] < 0 || w.num_bars[n] > w.max_bars ||
        std::int64_t{w.start_bar[n]} + w.num_bars[n] > bars) {
      return {describe(n, "start_bar " + std::to_string(w.start_bar[n]) + " and num_bars " +
                              std::to_string(w.num_bars[n]) + " leave the piece (" + std::to_string(bars) +
                              " bars) or the B axis")};
    }
    for (std::int64_t t = 0; t < w.max_tracks; ++t) {
      const std::int32_t track = w.tracks[n * w.max_tracks + t];
      if (track < -1 || track >= piece.num_tracks()) {
        return {describe(n, "track " + std::to_string(track) + " is not one of " + std::to_string(piece.num_tracks()))};
      }
    }
    if (w.masked_as[n] > static_cast<std::uint8_t>(MaskedAs::Removed)) return {describe(n, "unknown masked_as")};
  }
  return {};
}

// NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): what is without a default cannot be left out
struct WindowLoader::Source {
  score::PieceView piece;
  vocab::Resampler resampler;
  std::int64_t track = 0;
  std::int64_t start_bar = 0;
  std::int64_t num_bars = 0;
};

WindowLoader::WindowLoader(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows)
    : book_(book), corpus_(corpus), windows_(windows) {
  for (const vocab::AttributeControl& control : book.controls()) {
    wants_duration_mode_ |= control.control == vocab::Control::NoteDurationDist;
    wants_fine_nomml_ |= control.control == vocab::Control::NommlFine;
  }
  for (std::size_t pitch = 0; pitch < drum_pitch_.size(); ++pitch) {
    drum_pitch_[pitch] = static_cast<std::uint8_t>(std::min<std::size_t>(pitch, 127));
  }
}

// Tables instead of arithmetic per note. Pitches and velocities above 127 are no MIDI; they count as 127.
void WindowLoader::prepare_maps(std::int64_t window) {
  const std::int32_t transpose = std::clamp(windows_.transpose[window], -128, 128);
  const double scale = windows_.velocity_scale[window];
  for (std::int32_t value = 0; value < 128; ++value) {
    // In this order a product that is no number (0 times infinity) gives 1.
    const double scaled = std::max(1.0, std::min(value * scale, 127.0));
    const auto index = static_cast<std::size_t>(value);
    melodic_pitch_[index] = static_cast<std::uint8_t>(std::clamp(value + transpose, 0, 127));
    velocity_[index] = static_cast<std::uint8_t>(scaled);
  }
  if (std::isnan(scale)) std::iota(velocity_.begin(), velocity_.begin() + 128, std::uint8_t{0});
  std::fill(melodic_pitch_.begin() + 128, melodic_pitch_.end(), melodic_pitch_[127]);
  std::fill(velocity_.begin() + 128, velocity_.end(), velocity_[127]);
}

bool WindowLoader::load(std::int64_t window, std::span<const std::int64_t> slots, LoadedWindow& out) {
  out.notes_.clear();
  out.note_ends_.clear();
  out.bars_.clear();
  out.tracks_.clear();
  out.num_bars_ = 0;
  prepare_maps(window);
  const PieceSource where = find_piece(corpus_, windows_.piece[window]);
  const Columns& columns = where.shard->columns;
  Source source{score::PieceView(columns, where.piece),
                vocab::Resampler(columns.resolution, book_.settings().resolution, book_.settings().emit_delta_tokens),
                0, windows_.start_bar[window], windows_.num_bars[window]};
  if (!where.shard->is_sound(source.piece)) return false;
  for (const std::int64_t slot : slots) {
    source.track = windows_.tracks[window * windows_.max_tracks + slot];
    if (!load_track(source, slot, out)) return false;
    const Track& track = out.tracks_.back();
    out.num_bars_ = std::max(out.num_bars_, track.num_bars);
    for (std::size_t bar = 0; bar < track.num_bars; ++bar) {
      const std::span<const Note> notes = out.notes(track, bar);
      sort_bar({out.notes_.data() + (notes.data() - out.notes_.data()), notes.size()});
    }
  }
  return true;
}

bool WindowLoader::load_track(const Source& source, std::int64_t slot, LoadedWindow& out) const {
  // The columns may have changed since check_windows looked at them.
  if (source.track < 0 || source.track >= source.piece.num_tracks()) return false;
  const Columns& columns = source.piece.columns();
  const auto index = source.piece.track_index(source.track);
  Track track;
  track.slot = slot;
  track.program = columns.track_program[index];
  track.drum = columns.track_drum[index] != 0;
  // NOLINTNEXTLINE(bugprone-signed-char-misuse): -1 stands for "unknown"
  track.nomml = columns.track_nomml[index];
  if (!load_bars(source, track, out) || !load_notes(source, track, out)) return false;
  out.tracks_.push_back(track);
  if (wants_duration_mode_) {
    out.tracks_.back().duration_mode = duration_mode(out.notes(track), book_.settings().resolution);
  }
  return true;
}

bool WindowLoader::load_bars(const Source& source, Track& track, LoadedWindow& out) {
  const Columns& columns = source.piece.columns();
  const Run bars = source.piece.bars(source.track);
  if (!bars.is_inside(source.piece.bars())) return false;
  const std::int64_t count = std::clamp<std::int64_t>(bars.size() - source.start_bar, 0, source.num_bars);
  track.first_bar = out.bars_.size();
  track.num_bars = static_cast<std::size_t>(count);
  for (std::int64_t bar = bars.begin + source.start_bar; bar < bars.begin + source.start_bar + count; ++bar) {
    out.bars_.push_back({{columns.bar_numerator[bar], columns.bar_denominator[bar]}, columns.bar_length[bar]});
  }
  return true;
}

bool WindowLoader::load_notes(const Source& source, Track& track, LoadedWindow& out) const {
  const Columns& c = source.piece.columns();
  track.first_end = out.note_ends_.size();
  track.first_note = out.notes_.size();
  out.note_ends_.resize(track.first_end + track.num_bars, track.first_note);
  const std::int32_t resolution = book_.settings().resolution;
  const bool signed_deltas = book_.settings().signed_deltas;
  vocab::MedianDepth depth;
  const Run cells = source.piece.cells(source.track);
  if (!cells.is_inside(source.piece.cells())) return false;
  const std::array<std::uint8_t, 256>& pitch = track.drum ? drum_pitch_ : melodic_pitch_;
  const std::int64_t start = source.start_bar;
  const std::int64_t end = start + static_cast<std::int64_t>(track.num_bars);
  std::int64_t cell = std::lower_bound(c.cell_bar + cells.begin, c.cell_bar + cells.end, start) - c.cell_bar;
  std::int64_t next_bar = start;
  for (; cell < cells.end; ++cell) {
    const std::int64_t bar = c.cell_bar[cell];
    if (bar >= end) break;
    const Run notes = source.piece.notes(cell);
    if (bar < next_bar || !notes.is_inside(source.piece.notes())) return false;
    const std::size_t first = out.notes_.size();
    for (; next_bar < bar; ++next_bar) {
      out.note_ends_[track.first_end + static_cast<std::size_t>(next_bar - start)] = first;
    }
    out.notes_.resize(first + static_cast<std::size_t>(notes.size()));
    Note* note = out.notes_.data() + first;
    const std::size_t bar_at = track.first_bar + static_cast<std::size_t>(bar - start);
    const std::int32_t last_cell = signed_deltas ? last_position(out.bars_[bar_at].signature, resolution) : 0;
    for (std::int64_t i = notes.begin; i < notes.end; ++i, ++note) {
      const vocab::GridNote grid =
          signed_deltas
              ? source.resampler.nearest(c.note_onset[i], c.note_duration[i], c.note_microtiming[i], last_cell)
              : source.resampler(c.note_onset[i], c.note_duration[i], c.note_microtiming[i]);
      *note = {grid.onset, grid.duration, grid.delta, pitch[c.note_pitch[i]], velocity_[c.note_velocity[i]]};
    }
    if (wants_fine_nomml_) {
      for (std::int64_t i = notes.begin; i < notes.end; ++i) {
        depth.add(vocab::exact_metrical_depth(c.note_onset[i], c.resolution));
      }
    }
    out.note_ends_[track.first_end + static_cast<std::size_t>(bar - start)] = out.notes_.size();
    next_bar = bar + 1;
  }
  for (; next_bar < end; ++next_bar) {
    out.note_ends_[track.first_end + static_cast<std::size_t>(next_bar - start)] = out.notes_.size();
  }
  if (wants_fine_nomml_) {
    track.fine_nomml = track.nomml >= 0 ? std::min(track.nomml, vocab::MetricalDepth::kNone) : depth.value();
  }
  return true;
}

// By onset, equal onsets in stored order; then every group of equal onsets by pitch with std::sort and nothing but the
// pitch. Up to 16 notes that is stable; above, the order of equal pitches is what libstdc++ makes of it, and the
// released models' tokens were made the same way.
void WindowLoader::sort_bar(std::span<Note> notes) {
  const auto by_onset = [](const Note& a, const Note& b) { return a.onset < b.onset; };
  if (!std::is_sorted(notes.begin(), notes.end(), by_onset)) {
    unsorted_.assign(notes.begin(), notes.end());
    order_.clear();
    for (std::size_t i = 0; i < notes.size(); ++i) {
      order_.push_back(static_cast<std::uint64_t>(notes[i].onset) << 32 | static_cast<std::uint32_t>(i));
    }
    std::sort(order_.begin(), order_.end());
    for (std::size_t i = 0; i < notes.size(); ++i) notes[i] = unsorted_[static_cast<std::uint32_t>(order_[i])];
  }
  for (std::size_t begin = 0; begin < notes.size();) {
    std::size_t end = begin + 1;
    while (end < notes.size() && notes[end].onset == notes[begin].onset) ++end;
    if (end - begin > 1) {
      std::sort(notes.begin() + static_cast<std::ptrdiff_t>(begin), notes.begin() + static_cast<std::ptrdiff_t>(end),
                [](const Note& a, const Note& b) { return a.pitch < b.pitch; });
    }
    begin = end;
  }
}

}  // namespace midigpt::encode
