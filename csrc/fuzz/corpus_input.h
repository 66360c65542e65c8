// A corpus and windows over it out of the bytes of a fuzzing input: sound as they are read, then damaged.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/request.h"
#include "fuzz/bytes.h"

namespace midigpt::fuzz {

// Columns of several pieces in vectors of exactly their length, so that a sanitizer sees any step beyond.
struct OwnedColumns {
  std::int32_t resolution = 480;
  std::vector<std::int32_t> tempo;
  std::vector<std::int64_t> track_offsets{0};
  std::vector<std::int64_t> bar_offsets{0};
  std::vector<std::int64_t> cell_offsets{0};
  std::vector<std::int64_t> note_offsets{0};
  std::vector<std::uint8_t> track_program;
  std::vector<std::uint8_t> track_drum;
  std::vector<std::int8_t> track_nomml;
  std::vector<std::int32_t> track_cell_end;
  std::vector<std::int32_t> track_bar_end;  // of use where bars_per_track
  std::vector<std::int32_t> bar_numerator;
  std::vector<std::int32_t> bar_denominator;
  std::vector<double> bar_length;
  std::vector<std::int32_t> cell_bar;
  std::vector<std::int32_t> cell_note_end;
  std::vector<std::int32_t> note_onset;
  std::vector<std::int32_t> note_duration;
  std::vector<std::uint8_t> note_pitch;
  std::vector<std::uint8_t> note_velocity;
  std::vector<std::int32_t> note_microtiming;
  bool bars_per_track = false;

  // Pointers into this, which must stay where it is.
  [[nodiscard]] encode::Shard shard() const;
  void shrink_to_fit();
};

// A corpus of one or two shards. Layout (seeds.py writes it): shards - 1, then per shard: resolution u16,
// bars_per_track u8, pieces - 1 u8, then per piece and, with bars_per_track, per track: bars u8, each numerator u8,
// denominator u8, and length f64 where the denominator is 0 (else 4 * numerator / denominator); tracks u8, each
// program u8, drum u8, nomml i8, notes u16, each step to its bar u8, onset u16, duration u16, pitch u8, velocity u8,
// microtiming i16. Bars stand before a piece's tracks or, with bars_per_track, after each track's nomml.
struct OwnedCorpus {
  std::vector<OwnedColumns> columns;
  std::vector<encode::Shard> shards;
  std::vector<std::int64_t> piece_offsets{0};

  [[nodiscard]] encode::Corpus view() const { return {shards, piece_offsets.data()}; }
};

OwnedCorpus corpus_from(Bytes& bytes);

// Overwrites values anywhere in the columns: a count u8, then column u8, position u16 and value i64 or f64 each.
// Lengths stay: the binding knows them from the arrays.
void damage(OwnedCorpus& corpus, Bytes& bytes);

// Windows over the corpus and `controls` attribute controls. Layout: flags u8 (attributes_kept given, attribute_values
// given, compute_attributes), windows u8, max_tracks u8, max_bars u8; per window piece, start_bar, num_bars, u8 each,
// taken into the piece; then tracks u8 each, one byte of infill and hidden bits (low and high half) per track and two
// bars; window_bars i8, transpose i16, velocity_scale u8 (0: none, else in 64ths), genre i8, use_velocity i8,
// use_microtiming i8, partial_track i8, partial_bars i8, hidden_as u8, max_tokens i16.
struct OwnedWindows {
  std::int64_t count = 0;
  std::int64_t max_tracks = 0;
  std::int64_t max_bars = 0;
  std::vector<std::int64_t> piece;
  std::vector<std::int32_t> start_bar;
  std::vector<std::int32_t> num_bars;
  std::vector<std::int32_t> tracks;
  std::vector<std::uint8_t> infill;
  std::vector<std::uint8_t> hidden;
  std::vector<std::int32_t> window_bars;
  std::vector<std::int32_t> transpose;
  std::vector<double> velocity_scale;
  std::vector<std::int32_t> genre;
  std::vector<std::int8_t> use_velocity;
  std::vector<std::int8_t> use_microtiming;
  std::vector<std::int32_t> partial_track;
  std::vector<std::int32_t> partial_bars;
  std::vector<std::uint8_t> hidden_as;
  std::vector<std::uint8_t> attributes_kept;   // of use where keeps_some
  std::vector<std::int16_t> attribute_values;  // of use where gives_values
  std::vector<std::int32_t> max_tokens;
  bool keeps_some = false;
  bool gives_values = false;
  bool compute_attributes = true;

  [[nodiscard]] encode::Windows view() const;
  void shrink_to_fit();
};

OwnedWindows windows_from(Bytes& bytes, const OwnedCorpus& corpus, std::size_t controls);

// As for a corpus.
void damage(OwnedWindows& windows, Bytes& bytes);

}  // namespace midigpt::fuzz
