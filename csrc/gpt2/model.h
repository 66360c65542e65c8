// The weights of a GPT-2, packed for the kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gpt2/kernels.h"

namespace midigpt::gpt2 {

struct Shape {
  std::size_t vocab = 0;
  std::size_t positions = 0;
  std::size_t width = 0;
  std::size_t layers = 0;
  std::size_t heads = 0;
  [[nodiscard]] std::size_t head_size() const { return width / heads; }
};

// A matrix as PyTorch has it, rows contiguous.
struct Matrix {
  const float* values = nullptr;
  const float* bias = nullptr;  // nullptr: none
  std::size_t in = 0;
  std::size_t out = 0;
  bool output_major = false;  // [out, in], else [in, out]
};

struct LayerTensors {
  const float* norm_1_weight = nullptr;
  const float* norm_1_bias = nullptr;
  Matrix attention;  // to queries, keys and values
  Matrix projection;
  const float* norm_2_weight = nullptr;
  const float* norm_2_bias = nullptr;
  Matrix expansion;
  Matrix contraction;
};

struct Tensors {
  const float* tokens = nullptr;     // [vocab, width]
  const float* positions = nullptr;  // [positions, width]
  std::vector<LayerTensors> layers;
  const float* norm_weight = nullptr;
  const float* norm_bias = nullptr;
  Matrix head;
};

// A packed matrix and its memory.
class OwnedMatrix {
 public:
  OwnedMatrix(const Matrix& matrix, Precision precision);
  [[nodiscard]] const PackedMatrix& view() const { return view_; }

 private:
  PackedMatrix view_;
  std::vector<float> floats_;
  std::vector<std::uint16_t> halves_;
  std::vector<std::int8_t> bytes_;
  std::vector<float> scales_;
  std::vector<float> bias_;
};

struct Layer {
  std::vector<float> norm_1_weight;
  std::vector<float> norm_1_bias;
  OwnedMatrix attention;
  OwnedMatrix projection;
  std::vector<float> norm_2_weight;
  std::vector<float> norm_2_bias;
  OwnedMatrix expansion;
  OwnedMatrix contraction;
};

// Unchanging once built; shared by any number of Sequences.
class Model {
 public:
  Model(const Shape& shape, const Tensors& tensors, Precision precision);

  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }
  [[nodiscard]] const float* token(std::size_t id) const { return tokens_.data() + id * shape_.width; }
  [[nodiscard]] const float* position(std::size_t index) const { return positions_.data() + index * shape_.width; }
  [[nodiscard]] const float* norm_weight() const { return norm_weight_.data(); }
  [[nodiscard]] const float* norm_bias() const { return norm_bias_.data(); }
  [[nodiscard]] const PackedMatrix& head() const { return head_.view(); }

 private:
  Shape shape_;
  std::vector<float> tokens_;
  std::vector<float> positions_;
  std::vector<Layer> layers_;
  std::vector<float> norm_weight_;
  std::vector<float> norm_bias_;
  OwnedMatrix head_;
};

}  // namespace midigpt::gpt2
