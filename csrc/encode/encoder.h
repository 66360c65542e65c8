// Encodes batches of windows: no global state, no exception for the music's sake, safe from many threads at once.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/request.h"
#include "vocab/codebook.h"

namespace midigpt::encode {

// Encodes all windows into documents in their order, each within max_tokens[n] tokens (0 or less: no limit), with
// `threads` threads, each of which writes one element of `out`. The result does not depend on `threads`.
RequestError encode_batch(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows,
                          const std::int32_t* max_tokens, int threads, std::vector<Documents>& out);

// The attribute values that encode_batch would write, into `out` int16[N, T, 1 + B, K], -1 where there is none.
RequestError compute_attributes(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows,
                                std::int16_t* out);

// The notes of the windows, transposed and on the grid as encode_batch writes them.
RequestError collect_notes(const vocab::Codebook& book, const Corpus& corpus, const Windows& windows, WindowNotes& out);

}  // namespace midigpt::encode
