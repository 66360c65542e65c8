// The weights of a causal transformer, packed for the kernels: a GPT-2 or a Llama, by which of its parts there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transformer/kernels.h"

namespace midigpt::transformer {

struct Shape {
  std::size_t vocab = 0;
  std::size_t positions = 0;
  std::size_t width = 0;
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;  // heads of keys and values; each serves heads / kv_heads heads of queries
  std::size_t inner = 0;     // width between expansion and contraction
  [[nodiscard]] std::size_t head_size() const { return width / heads; }
  [[nodiscard]] std::size_t kv_width() const { return kv_heads * head_size(); }
};

// A matrix as PyTorch has it.
struct Matrix {
  const float* values = nullptr;  // nullptr: there is no such matrix
  const float* bias = nullptr;    // nullptr: none
  std::size_t in = 0;
  std::size_t out = 0;
  // From one input, or output, to the next in memory.
  std::size_t in_stride = 0;
  std::size_t out_stride = 0;
};

struct NormTensors {
  const float* weight = nullptr;
  const float* bias = nullptr;  // nullptr: an RMS norm, else a layer norm
};

struct LayerTensors {
  NormTensors norm_1;
  Matrix queries;
  Matrix keys;
  Matrix values;
  Matrix projection;
  NormTensors norm_2;
  Matrix gate;  // if there is one: contraction of SiLU(gate) times expansion, else contraction of GELU(expansion)
  Matrix expansion;
  Matrix contraction;
};

struct Tensors {
  const float* tokens = nullptr;     // [vocab, width]
  const float* positions = nullptr;  // [positions, width]; nullptr: rotary positions
  // Of rotary positions: by how much a position turns numbers i and i + head size / 2 of queries and keys, in radians.
  const float* speeds = nullptr;  // [head size / 2]
  std::vector<LayerTensors> layers;
  NormTensors norm;
  Matrix head;
};

// A packed matrix and its memory.
class OwnedMatrix {
 public:
  // Matrices of the same inputs; the outputs of each begin at a multiple of kPad.
  OwnedMatrix(std::span<const Matrix> parts, Precision precision);
  OwnedMatrix(const Matrix& matrix, Precision precision) : OwnedMatrix(std::span(&matrix, 1), precision) {}
  [[nodiscard]] const PackedMatrix& view() const { return view_; }

 private:
  // Packs a part whose outputs begin at `first`.
  void pack(const Matrix& matrix, Precision precision, std::size_t first);

  PackedMatrix view_;
  std::vector<float> floats_;
  std::vector<std::uint16_t> halves_;
  std::vector<std::int8_t> bytes_;
  std::vector<float> scales_;
  std::vector<float> bias_;
};

struct Norm {
  std::vector<float> weight;
  std::vector<float> bias;  // empty: an RMS norm
};

struct Layer {
  Norm norm_1;
  OwnedMatrix attention;  // to queries, keys and values
  OwnedMatrix projection;
  Norm norm_2;
  bool has_gate = false;
  OwnedMatrix expansion;  // after the gate, if there is one
  OwnedMatrix contraction;
};

// Unchanging once built; shared by any number of Sequences.
class Model {
 public:
  Model(const Shape& shape, const Tensors& tensors, Precision precision);

  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  [[nodiscard]] const float* token(std::size_t id) const { return tokens_.data() + id * shape_.width; }
  // The learned position; nullptr if positions are rotary.
  [[nodiscard]] const float* position(std::size_t index) const {
    return positions_.empty() ? nullptr : positions_.data() + index * shape_.width;
  }
  // Of rotary positions, else empty.
  [[nodiscard]] const std::vector<float>& speeds() const { return speeds_; }
  [[nodiscard]] const Norm& norm() const { return norm_; }
  [[nodiscard]] const PackedMatrix& head() const { return head_.view(); }

 private:
  Shape shape_;
  std::vector<float> tokens_;
  std::vector<float> positions_;
  std::vector<float> speeds_;
  std::vector<Layer> layers_;
  Norm norm_;
  OwnedMatrix head_;
};

}  // namespace midigpt::transformer
