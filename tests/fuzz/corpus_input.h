// A corpus and windows over it out of the bytes of a fuzzing input: sound as they are read, then damaged.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/request.h"
#include "fuzz/bytes.h"
#include "score/owned_columns.h"
#include "support/owned_windows.h"

namespace midigpt::fuzz {

using score::OwnedColumns;
using tests::OwnedWindows;

// A corpus of one or two shards. Layout (seeds.py writes it): shards - 1, then per shard: resolution u16,
// bars_per_track u8, pieces - 1 u8, then per piece and, with bars_per_track, per track: bars u8, each numerator u8,
// denominator u8, and length f64 where the denominator is 0 (else 4 * numerator / denominator); tracks u8, each
// program u8, drum u8, nomml i8, notes u16, each step to its bar u8, onset u16, duration u16, pitch u8, velocity u8,
// microtiming i16. Bars stand before a piece's tracks or, with bars_per_track, after each track's nomml.
struct OwnedCorpus {
  std::vector<OwnedColumns> columns;
  std::vector<score::BoundedColumns> shards;
  std::vector<std::int64_t> piece_offsets{0};

  [[nodiscard]] encode::Corpus view() const { return {shards, piece_offsets.data()}; }
};

OwnedCorpus corpus_from(Bytes& bytes);

// Overwrites values anywhere in the columns: a count u8, then column u8, position u16 and value i64 or f64 each.
// Lengths stay: the binding knows them from the arrays.
void damage(OwnedCorpus& corpus, Bytes& bytes);

// Windows over the corpus and `controls` attribute controls. Layout: flags u8 (attributes_kept given, attribute_values
// given, compute_attributes), windows u8, max_tracks u8, max_bars u8; per window piece, start_bar, num_bars, u8 each,
// taken into the piece; then tracks u8 each, one byte of infill and masked bits (low and high half) per track and two
// bars; window_bars i8, transpose i16, velocity_scale u8 (0: none, else in 64ths), genre i8, use_velocity i8,
// use_microtiming i8, partial_track i8, partial_bars i8, masked_as u8, max_tokens i16.
OwnedWindows windows_from(Bytes& bytes, const OwnedCorpus& corpus, std::size_t controls);

// As for a corpus.
void damage(OwnedWindows& windows, Bytes& bytes);

}  // namespace midigpt::fuzz
