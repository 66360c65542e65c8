#include "gpt2/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace midigpt::gpt2 {

namespace {

constexpr float kInt8Limit = 127.0F;

// The nearest bfloat16, halves to even.
std::uint16_t to_bfloat16(float value) {
  constexpr std::uint16_t not_a_number = 0x7FC0;
  if (std::isnan(value)) return not_a_number;  // rounding could carry over into the sign
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t rounding = 0x7FFFU + ((bits >> 16U) & 1U);
  return static_cast<std::uint16_t>((bits + rounding) >> 16U);
}

std::int8_t to_int8(float value, float scale) {
  return std::isnan(scale) ? std::int8_t{0} : static_cast<std::int8_t>(std::nearbyint(value / scale));
}

float at(const Matrix& matrix, std::size_t in, std::size_t out) {
  return matrix.values[matrix.output_major ? out * matrix.in + in : in * matrix.out + out];
}

std::vector<float> copied(const float* values, std::size_t size) { return {values, values + size}; }

Layer packed(const LayerTensors& tensors, std::size_t width, Precision precision) {
  return {copied(tensors.norm_1_weight, width),      copied(tensors.norm_1_bias, width),
          OwnedMatrix(tensors.attention, precision), OwnedMatrix(tensors.projection, precision),
          copied(tensors.norm_2_weight, width),      copied(tensors.norm_2_bias, width),
          OwnedMatrix(tensors.expansion, precision), OwnedMatrix(tensors.contraction, precision)};
}

}  // namespace

OwnedMatrix::OwnedMatrix(const Matrix& matrix, Precision precision) {
  const std::size_t out = padded(matrix.out);
  const std::size_t size = matrix.in * out;
  bias_.assign(out, 0.0F);
  if (matrix.bias != nullptr) std::copy_n(matrix.bias, matrix.out, bias_.begin());
  if (precision == Precision::Int8) {
    // One scale per output, so that its largest weight is 127; subnormal weights are nothing.
    scales_.assign(out, 1.0F);
    for (std::size_t o = 0; o < matrix.out; ++o) {
      float largest = std::numeric_limits<float>::min() * kInt8Limit;
      bool finite = true;
      for (std::size_t i = 0; i < matrix.in; ++i) {
        const float weight = at(matrix, i, o);
        finite = finite && std::isfinite(weight);
        largest = std::max(largest, std::fabs(weight));
      }
      // No byte says "not a number": the scale does, and so the output.
      scales_[o] = finite ? largest / kInt8Limit : std::numeric_limits<float>::quiet_NaN();
    }
  }
  switch (precision) {
    case Precision::Float32: floats_.assign(size, 0.0F); break;
    case Precision::Bfloat16: halves_.assign(size, 0); break;
    case Precision::Int8: bytes_.assign(size, 0); break;
  }
  std::size_t to = 0;
  for (std::size_t panel = 0; panel < out; panel += kPanel) {
    for (std::size_t i = 0; i < matrix.in; ++i) {
      for (std::size_t o = panel; o < panel + kPanel; ++o, ++to) {
        if (o >= matrix.out) continue;
        const float value = at(matrix, i, o);
        switch (precision) {
          case Precision::Float32: floats_[to] = value; break;
          case Precision::Bfloat16: halves_[to] = to_bfloat16(value); break;
          case Precision::Int8: bytes_[to] = to_int8(value, scales_[o]); break;
        }
      }
    }
  }
  view_ = {precision, matrix.in, out, nullptr, scales_.empty() ? nullptr : scales_.data(), bias_.data()};
  switch (precision) {
    case Precision::Float32: view_.values = floats_.data(); break;
    case Precision::Bfloat16: view_.values = halves_.data(); break;
    case Precision::Int8: view_.values = bytes_.data(); break;
  }
}

Model::Model(const Shape& shape, const Tensors& tensors, Precision precision)
    : shape_(shape),
      tokens_(copied(tensors.tokens, shape.vocab * shape.width)),
      positions_(copied(tensors.positions, shape.positions * shape.width)),
      norm_weight_(copied(tensors.norm_weight, shape.width)),
      norm_bias_(copied(tensors.norm_bias, shape.width)),
      head_(tensors.head, precision) {
  layers_.reserve(tensors.layers.size());
  for (const LayerTensors& layer : tensors.layers) layers_.push_back(packed(layer, shape.width, precision));
}

}  // namespace midigpt::gpt2
