// The arithmetic of a transformer on the CPU, once per instruction set.
//
// Every output is computed in an order that depends on nothing but its own inputs: not on what else is in the batch,
// not on how many tokens come at once, not on the number of threads. So a sequence's logits are the same bit for bit in
// any batch, on one machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace midigpt::transformer {

// Columns of a packed matrix are stored in panels of this width, each panel row by row: read once, in memory order.
inline constexpr std::size_t kPanel = 32;

// Sizes of vectors are padded to a multiple of this with zeros, so that no kernel has a remainder.
inline constexpr std::size_t kPad = 32;

constexpr std::size_t padded(std::size_t size) { return (size + kPad - 1) / kPad * kPad; }

enum class Precision : std::uint8_t { Float32, Bfloat16, Int8 };

// A matrix [in, out] in panels [out / kPanel, in, kPanel].
struct PackedMatrix {
  Precision precision = Precision::Float32;
  std::size_t in = 0;
  std::size_t out = 0;            // padded
  const void* values = nullptr;   // float, uint16 (bfloat16) or int8
  const float* scales = nullptr;  // [out], of int8
  const float* bias = nullptr;    // [out], zeros where there is none
};

// Keys and values of one head, of consecutive tokens.
struct HeadCache {
  // [capacity / kPad, head size, kPad]: number d of token t is at key_place(t, d). A power of two between the
  // numbers of one token would map them all to one set of the processor's cache.
  float* keys = nullptr;
  float* values = nullptr;  // [capacity, head size]
};

constexpr std::size_t key_place(std::size_t token, std::size_t number, std::size_t head_size) {
  return (token / kPad * head_size + number) * kPad + token % kPad;
}

// What a query attends to: the tokens of `prefix`, which other sequences may share, then those of `own`.
struct Visible {
  HeadCache prefix;
  std::size_t prefix_length = 0;
  HeadCache own;
  std::size_t own_length = 0;
  std::size_t head_size = 0;  // padded
};

// Queries that may be given to `attend` at once.
inline constexpr std::size_t kMostQueries = 4;

struct Kernels {
  const char* name;
  // y[rows, out] = x[rows, in] W + bias, for panels [first, last).
  void (*multiply)(const PackedMatrix& matrix, const float* x, std::size_t x_stride, std::size_t rows, float* y,
                   std::size_t y_stride, std::size_t first_panel, std::size_t last_panel);
  // y = layer norm of x[size], with weight and bias; padded with zeros.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, std::size_t size, float* y);
  // y = x[size] over its root mean square, times weight; padded with zeros.
  void (*rms_norm)(const float* x, const float* weight, std::size_t size, float* y);
  // x[size] = GELU(x) (the tanh form), size a multiple of kPad.
  void (*gelu)(float* x, std::size_t size);
  // x[size] = SiLU(x) x[size .. 2 size), size a multiple of kPad.
  void (*swiglu)(float* x, std::size_t size);
  // out[count, head size] = attention of queries[count, head size] (count <= kMostQueries), which see one prefix, read
  // once for several of them, and own tokens each; scores: `stride` for each, room for all visible tokens and kPad
  // more.
  void (*attend)(const Visible* visible, std::size_t count, const float* queries, float scale, float* scores,
                 std::size_t stride, float* out);
};

// What this processor can run, the fastest first.
std::vector<const Kernels*> kernels();

}  // namespace midigpt::transformer
