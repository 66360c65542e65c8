#include "transformer/model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

namespace midigpt::transformer {

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
  return matrix.values[in * matrix.in_stride + out * matrix.out_stride];
}

std::vector<float> copied(const float* values, std::size_t size) {
  return values == nullptr ? std::vector<float>() : std::vector<float>(values, values + size);
}

Norm copied(const NormTensors& norm, std::size_t width) {
  return {copied(norm.weight, width), copied(norm.bias, width)};
}

Layer packed(const LayerTensors& tensors, std::size_t width, Precision precision) {
  const std::array attention{tensors.queries, tensors.keys, tensors.values};
  const bool has_gate = tensors.gate.values != nullptr;
  const std::array gated{tensors.gate, tensors.expansion};
  return {copied(tensors.norm_1, width),
          OwnedMatrix(attention, precision),
          OwnedMatrix(tensors.projection, precision),
          copied(tensors.norm_2, width),
          has_gate,
          OwnedMatrix(std::span(gated).subspan(has_gate ? 0 : 1), precision),
          OwnedMatrix(tensors.contraction, precision)};
}

}  // namespace

OwnedMatrix::OwnedMatrix(std::span<const Matrix> parts, Precision precision) {
  const std::size_t in = parts.front().in;
  std::size_t out = 0;
  for (const Matrix& part : parts) out += padded(part.out);
  const std::size_t size = in * out;
  bias_.assign(out, 0.0F);
  switch (precision) {
    case Precision::Float32: floats_.assign(size, 0.0F); break;
    case Precision::Bfloat16: halves_.assign(size, 0); break;
    case Precision::Int8:
      bytes_.assign(size, 0);
      scales_.assign(out, 1.0F);
      break;
  }
  std::size_t first = 0;
  for (const Matrix& part : parts) {
    pack(part, precision, first);
    first += padded(part.out);
  }
  view_ = {precision, in, out, nullptr, scales_.empty() ? nullptr : scales_.data(), bias_.data()};
  switch (precision) {
    case Precision::Float32: view_.values = floats_.data(); break;
    case Precision::Bfloat16: view_.values = halves_.data(); break;
    case Precision::Int8: view_.values = bytes_.data(); break;
  }
}

void OwnedMatrix::pack(const Matrix& matrix, Precision precision, std::size_t first) {
  if (matrix.bias != nullptr) std::copy_n(matrix.bias, matrix.out, bias_.data() + first);
  if (precision == Precision::Int8) {
    // One scale per output, so that its largest weight is 127; subnormal weights are nothing.
    for (std::size_t o = 0; o < matrix.out; ++o) {
      float largest = std::numeric_limits<float>::min() * kInt8Limit;
      bool finite = true;
      for (std::size_t i = 0; i < matrix.in; ++i) {
        const float weight = at(matrix, i, o);
        finite = finite && std::isfinite(weight);
        largest = std::max(largest, std::fabs(weight));
      }
      // No byte says "not a number": the scale does, and so the output.
      scales_[first + o] = finite ? largest / kInt8Limit : std::numeric_limits<float>::quiet_NaN();
    }
  }
  static_assert(kPad % kPanel == 0);
  std::size_t to = first * matrix.in;
  for (std::size_t panel = 0; panel < padded(matrix.out); panel += kPanel) {
    for (std::size_t i = 0; i < matrix.in; ++i) {
      for (std::size_t o = panel; o < panel + kPanel; ++o, ++to) {
        if (o >= matrix.out) continue;
        const float value = at(matrix, i, o);
        switch (precision) {
          case Precision::Float32: floats_[to] = value; break;
          case Precision::Bfloat16: halves_[to] = to_bfloat16(value); break;
          case Precision::Int8: bytes_[to] = to_int8(value, scales_[first + o]); break;
        }
      }
    }
  }
}

Model::Model(const Shape& shape, const Tensors& tensors, Precision precision)
    : shape_(shape),
      tokens_(copied(tensors.tokens, shape.vocab * shape.width)),
      positions_(copied(tensors.positions, shape.positions * shape.width)),
      speeds_(copied(tensors.speeds, shape.head_size() / 2)),
      norm_(copied(tensors.norm, shape.width)),
      head_(tensors.head, precision) {
  layers_.reserve(tensors.layers.size());
  for (const LayerTensors& layer : tensors.layers) layers_.push_back(packed(layer, shape.width, precision));
}

}  // namespace midigpt::transformer
