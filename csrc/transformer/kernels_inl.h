// The kernels, written once: each kernels_*.cpp includes this with MIDIGPT_ISA and MIDIGPT_LANES (floats of a register)
// defined, compiled for its instruction set.
#include <cmath>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "transformer/kernels.h"

// NOLINTBEGIN(misc-definitions-in-headers): a namespace of its own for everything that includes this
namespace midigpt::transformer::MIDIGPT_ISA {

namespace {

constexpr std::size_t kLanes = MIDIGPT_LANES;
constexpr std::size_t kVectors = kPanel / kLanes;
// Rows of x that share one reading of a panel: as many as leave the accumulators in registers.
constexpr std::size_t kMostRows = MIDIGPT_LANES == 16 ? 12 : MIDIGPT_LANES == 8 ? 3 : 1;

// Bytes ahead of the weights in use that are fetched already.
constexpr std::size_t kLookAhead = 4096;

using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));

inline Floats load(const float* from) {
  Floats out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }

inline Floats load_weights(const float* from) { return load(from); }

inline Floats load_weights(const std::uint16_t* from) {
#if MIDIGPT_LANES == 16
  return (Floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))),
                                   16);
#elif MIDIGPT_LANES == 8
  return (Floats)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))), 16);
#else
  Ints bits;
  for (std::size_t i = 0; i < kLanes; ++i) bits[i] = static_cast<std::int32_t>(std::uint32_t{from[i]} << 16U);
  return (Floats)bits;
#endif
}

inline Floats load_weights(const std::int8_t* from) {
#if MIDIGPT_LANES == 16
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif MIDIGPT_LANES == 8
  return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#else
  Floats out;
  for (std::size_t i = 0; i < kLanes; ++i) out[i] = static_cast<float>(from[i]);
  return out;
#endif
}

inline float sum(Floats value) {
  float out = 0;
  for (std::size_t i = 0; i < kLanes; ++i) out += value[i];
  return out;
}

// e^x for x within float's range, to about 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]
// (coefficients of the Taylor series; its seventh term is below 1e-7 there).
inline Floats exponential(Floats x) {
  constexpr float kLimit = 87.0F;
  const Floats low = Floats{} - kLimit;
  const Floats high = Floats{} + kLimit;
  x = x < low ? low : x;
  x = x > high ? high : x;
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = x * 1.44269504F + kRounder;
  const Floats n = shifted - kRounder;
  const Floats r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  Floats p = Floats{} + 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const Ints exponent = ((Ints)shifted - 0x4B400000 + 127) << 23;
  return p * (Floats)exponent;
}

template <std::size_t kRows, class Weight>
inline void multiply_panel(const PackedMatrix& matrix, const Weight* w, const float* x, std::size_t x_stride, float* y,
                           std::size_t y_stride, std::size_t column) {
  Floats total[kRows][kVectors] = {};
  for (std::size_t i = 0; i < matrix.in; ++i, w += kPanel) {
    // The processor's own look-ahead ends at page borders.
    __builtin_prefetch(reinterpret_cast<const char*>(w) + kLookAhead);
    __builtin_prefetch(reinterpret_cast<const char*>(w) + kLookAhead + 64);
    Floats weights[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) weights[v] = load_weights(w + v * kLanes);
    for (std::size_t r = 0; r < kRows; ++r) {
      // Less nothing, not plus nothing: the latter makes +0 of -0, so it would really be computed.
      const Floats value = x[r * x_stride + i] - Floats{};
      for (std::size_t v = 0; v < kVectors; ++v) total[r][v] += value * weights[v];
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t at = column + v * kLanes;
      Floats out = total[r][v];
      if constexpr (std::is_same_v<Weight, std::int8_t>) out = out * load(matrix.scales + at);
      store(y + r * y_stride + at, out + load(matrix.bias + at));
    }
  }
}

// Rows by the dozen, then by the largest power of two that is left.
template <std::size_t kRows, class Weight>
inline void multiply_rows(const PackedMatrix& matrix, const Weight* w, const float*& x, std::size_t x_stride,
                          std::size_t& rows, float*& y, std::size_t y_stride, std::size_t column) {
  if constexpr (kRows <= kMostRows) {
    for (; rows >= kRows; rows -= kRows, x += kRows * x_stride, y += kRows * y_stride) {
      multiply_panel<kRows>(matrix, w, x, x_stride, y, y_stride, column);
    }
  }
}

template <class Weight>
inline void multiply_all(const PackedMatrix& matrix, const float* x, std::size_t x_stride, std::size_t rows, float* y,
                         std::size_t y_stride, std::size_t first_panel, std::size_t last_panel) {
  for (std::size_t panel = first_panel; panel < last_panel; ++panel) {
    const Weight* w = static_cast<const Weight*>(matrix.values) + panel * matrix.in * kPanel;
    const float* from = x;
    float* to = y;
    std::size_t left = rows;
    const std::size_t column = panel * kPanel;
    multiply_rows<12>(matrix, w, from, x_stride, left, to, y_stride, column);
    multiply_rows<8>(matrix, w, from, x_stride, left, to, y_stride, column);
    multiply_rows<4>(matrix, w, from, x_stride, left, to, y_stride, column);
    multiply_rows<3>(matrix, w, from, x_stride, left, to, y_stride, column);
    multiply_rows<2>(matrix, w, from, x_stride, left, to, y_stride, column);
    multiply_rows<1>(matrix, w, from, x_stride, left, to, y_stride, column);
  }
}

void multiply(const PackedMatrix& matrix, const float* x, std::size_t x_stride, std::size_t rows, float* y,
              std::size_t y_stride, std::size_t first_panel, std::size_t last_panel) {
  switch (matrix.precision) {
    case Precision::Float32:
      multiply_all<float>(matrix, x, x_stride, rows, y, y_stride, first_panel, last_panel);
      break;
    case Precision::Bfloat16:
      multiply_all<std::uint16_t>(matrix, x, x_stride, rows, y, y_stride, first_panel, last_panel);
      break;
    case Precision::Int8:
      multiply_all<std::int8_t>(matrix, x, x_stride, rows, y, y_stride, first_panel, last_panel);
      break;
  }
}

constexpr float kEpsilon = 1e-5F;  // of both norms

void layer_norm(const float* x, const float* weight, const float* bias, std::size_t size, float* y) {
  const std::size_t whole = size / kLanes * kLanes;
  Floats totals = {};
  for (std::size_t i = 0; i < whole; i += kLanes) totals += load(x + i);
  float total = sum(totals);
  for (std::size_t i = whole; i < size; ++i) total += x[i];
  const float mean = total / static_cast<float>(size);
  Floats squares = {};
  for (std::size_t i = 0; i < whole; i += kLanes) squares += (load(x + i) - mean) * (load(x + i) - mean);
  float spread = sum(squares);
  for (std::size_t i = whole; i < size; ++i) spread += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0F / std::sqrt(spread / static_cast<float>(size) + kEpsilon);
  for (std::size_t i = 0; i < size; ++i) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
  for (std::size_t i = size; i < padded(size); ++i) y[i] = 0;
}

void rms_norm(const float* x, const float* weight, std::size_t size, float* y) {
  const std::size_t whole = size / kLanes * kLanes;
  Floats squares = {};
  for (std::size_t i = 0; i < whole; i += kLanes) squares += load(x + i) * load(x + i);
  float total = sum(squares);
  for (std::size_t i = whole; i < size; ++i) total += x[i] * x[i];
  const float scale = 1.0F / std::sqrt(total / static_cast<float>(size) + kEpsilon);
  for (std::size_t i = 0; i < size; ++i) y[i] = x[i] * scale * weight[i];
  for (std::size_t i = size; i < padded(size); ++i) y[i] = 0;
}

void gelu(float* x, std::size_t size) {
  constexpr float kRootTwoOverPi = 0.7978845608F;
  for (std::size_t i = 0; i < size; i += kLanes) {
    const Floats value = load(x + i);
    const Floats inner = kRootTwoOverPi * (value + 0.044715F * value * value * value);
    store(x + i, value / (1.0F + exponential(-2.0F * inner)));  // 1 + tanh(u) = 2 / (1 + e^(-2u))
  }
}

void swiglu(float* x, std::size_t size) {
  for (std::size_t i = 0; i < size; i += kLanes) {
    const Floats value = load(x + i);
    store(x + i, value / (1.0F + exponential(-value)) * load(x + size + i));
  }
}

constexpr std::size_t kBlock = kPad / kLanes;

// The scores of kPanels * kPad keys, in as many chains of sums as keep the processor busy.
template <std::size_t kPanels>
inline void score_panels(const float* keys, std::size_t head_size, const float* query, float scale, float* scores) {
  Floats total[kPanels][kBlock] = {};
  for (std::size_t d = 0; d < head_size; ++d) {
    for (std::size_t p = 0; p < kPanels; ++p) {
      for (std::size_t v = 0; v < kBlock; ++v) {
        total[p][v] += query[d] * load(keys + (p * head_size + d) * kPad + v * kLanes);
      }
    }
  }
  for (std::size_t p = 0; p < kPanels; ++p) {
    for (std::size_t v = 0; v < kBlock; ++v) store(scores + p * kPad + v * kLanes, total[p][v] * scale);
  }
}

// scores[length] of one query with the first keys of a cache, and whatever up to the next multiple of kPad.
inline void score_keys(const HeadCache& cache, std::size_t length, std::size_t head_size, const float* query,
                       float scale, float* scores) {
  const std::size_t panels = (length + kPad - 1) / kPad;
  std::size_t panel = 0;
  for (; panel + 4 <= panels; panel += 4) {
    score_panels<4>(cache.keys + panel * head_size * kPad, head_size, query, scale, scores + panel * kPad);
  }
  for (; panel < panels; ++panel) {
    score_panels<1>(cache.keys + panel * head_size * kPad, head_size, query, scale, scores + panel * kPad);
  }
}

// Queries that share one reading of a prefix: as many as leave the accumulators in registers.
constexpr std::size_t kTogether = MIDIGPT_LANES == 16 ? 4 : MIDIGPT_LANES == 8 ? 2 : 1;

// score_keys for kTogether queries at once: the same sums.
inline void score_keys_together(const HeadCache& cache, std::size_t length, std::size_t head_size, const float* queries,
                                float scale, float* scores, std::size_t stride) {
  for (std::size_t panel = 0; panel * kPad < length; ++panel) {
    const float* keys = cache.keys + panel * head_size * kPad;
    Floats total[kTogether][kBlock] = {};
    for (std::size_t d = 0; d < head_size; ++d) {
      for (std::size_t q = 0; q < kTogether; ++q) {
        for (std::size_t v = 0; v < kBlock; ++v) {
          total[q][v] += queries[q * head_size + d] * load(keys + d * kPad + v * kLanes);
        }
      }
    }
    for (std::size_t q = 0; q < kTogether; ++q) {
      for (std::size_t v = 0; v < kBlock; ++v) {
        store(scores + q * stride + panel * kPad + v * kLanes, total[q][v] * scale);
      }
    }
  }
}

// out[kQueries, head size] = weights times values, for kBlocks * kPad numbers of each value from `d` on, added to what
// is in out if `more`.
template <std::size_t kQueries, std::size_t kBlocks>
inline void mix_values(const HeadCache& cache, std::size_t length, std::size_t head_size, std::size_t d,
                       const float* weights, std::size_t stride, bool more, float* out) {
  constexpr std::size_t kVectorsOfBlocks = kBlocks * kBlock;
  Floats total[kQueries][kVectorsOfBlocks] = {};
  if (more) {
    for (std::size_t q = 0; q < kQueries; ++q) {
      for (std::size_t v = 0; v < kVectorsOfBlocks; ++v) total[q][v] = load(out + q * head_size + d + v * kLanes);
    }
  }
  const float* values = cache.values + d;
  for (std::size_t i = 0; i < length; ++i, values += head_size) {
    for (std::size_t q = 0; q < kQueries; ++q) {
      for (std::size_t v = 0; v < kVectorsOfBlocks; ++v) {
        total[q][v] += weights[q * stride + i] * load(values + v * kLanes);
      }
    }
  }
  for (std::size_t q = 0; q < kQueries; ++q) {
    for (std::size_t v = 0; v < kVectorsOfBlocks; ++v) store(out + q * head_size + d + v * kLanes, total[q][v]);
  }
}

template <std::size_t kQueries>
inline void mix(const HeadCache& cache, std::size_t length, std::size_t head_size, const float* weights,
                std::size_t stride, bool more, float* out) {
  std::size_t d = 0;
  for (; d + 2 * kPad <= head_size; d += 2 * kPad) {
    mix_values<kQueries, 2>(cache, length, head_size, d, weights, stride, more, out);
  }
  for (; d < head_size; d += kPad) {
    mix_values<kQueries, 1>(cache, length, head_size, d, weights, stride, more, out);
  }
}

// scores[length] become weights that add up to what is returned.
inline float weigh(float* scores, std::size_t length) {
  const std::size_t end = (length + kLanes - 1) / kLanes * kLanes;
  // Entries after the last key have no weight: e^-87 compared with e^0 of the largest key.
  for (std::size_t i = length; i < end; ++i) scores[i] = -INFINITY;
  Floats most = load(scores);
  for (std::size_t i = kLanes; i < end; i += kLanes) {
    const Floats other = load(scores + i);
    most = other > most ? other : most;
  }
  float largest = most[0];
  for (std::size_t i = 1; i < kLanes; ++i) largest = most[i] > largest ? most[i] : largest;
  Floats weights = {};
  for (std::size_t i = 0; i < end; i += kLanes) {
    const Floats weight = exponential(load(scores + i) - largest);
    store(scores + i, weight);
    weights += weight;
  }
  return sum(weights);
}

template <std::size_t kQueries>
inline void attend_some(const Visible* visible, const float* queries, float scale, float* scores, std::size_t stride,
                        float* out) {
  const HeadCache& prefix = visible[0].prefix;
  const std::size_t prefix_length = visible[0].prefix_length;
  const std::size_t head_size = visible[0].head_size;
  if constexpr (kQueries == 1) {
    score_keys(prefix, prefix_length, head_size, queries, scale, scores);
  } else {
    score_keys_together(prefix, prefix_length, head_size, queries, scale, scores, stride);
  }
  float whole[kQueries];
  for (std::size_t q = 0; q < kQueries; ++q) {
    float* of_query = scores + q * stride;
    const std::size_t own_length = visible[q].own_length;
    score_keys(visible[q].own, own_length, head_size, queries + q * head_size, scale, of_query + prefix_length);
    whole[q] = weigh(of_query, prefix_length + own_length);
  }
  mix<kQueries>(prefix, prefix_length, head_size, scores, stride, false, out);
  for (std::size_t q = 0; q < kQueries; ++q) {
    float* to = out + q * head_size;
    mix<1>(visible[q].own, visible[q].own_length, head_size, scores + q * stride + prefix_length, stride, true, to);
    for (std::size_t d = 0; d < head_size; d += kLanes) store(to + d, load(to + d) / whole[q]);
  }
}

// The order of every sum depends on the token's place in the sequence, not on shared prefixes.
void attend(const Visible* visible, std::size_t count, const float* queries, float scale, float* scores,
            std::size_t stride, float* out) {
  const std::size_t head_size = visible[0].head_size;
  std::size_t first = 0;
  if constexpr (kTogether > 1) {
    for (; first + kTogether <= count; first += kTogether) {
      attend_some<kTogether>(visible + first, queries + first * head_size, scale, scores + first * stride, stride,
                             out + first * head_size);
    }
  }
  for (; first < count; ++first) {
    attend_some<1>(visible + first, queries + first * head_size, scale, scores + first * stride, stride,
                   out + first * head_size);
  }
}

}  // namespace

extern const Kernels kKernels;
const Kernels kKernels{MIDIGPT_NAME, &multiply, &layer_norm, &rms_norm, &gelu, &swiglu, &attend};

}  // namespace midigpt::transformer::MIDIGPT_ISA
// NOLINTEND(misc-definitions-in-headers)
