#include "transformer/kernels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "transformer/model.h"
#include "transformer/numbers.h"

namespace {

using namespace midigpt::transformer;
using midigpt::tests::Numbers;

void check_close(const std::vector<float>& found, const std::vector<double>& expected, double error) {
  REQUIRE(found.size() == expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::fabs(found[i] - expected[i]));
  CHECK(worst <= error);
}

// x[rows, in] W[in, out] + bias, padded with zeros.
std::vector<double> product(const Matrix& matrix, const std::vector<float>& x, std::size_t rows) {
  const std::size_t width = padded(matrix.out);
  std::vector<double> out(rows * width, 0.0);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t o = 0; o < matrix.out; ++o) {
      double sum = matrix.bias[o];
      for (std::size_t i = 0; i < matrix.in; ++i) {
        sum += double{x[r * matrix.in + i]} * double{matrix.values[i * matrix.out + o]};
      }
      out[r * width + o] = sum;
    }
  }
  return out;
}

TEST_CASE("every instruction set multiplies, in every precision") {
  constexpr std::size_t kIn = 37;
  constexpr std::size_t kOut = 45;
  constexpr std::size_t kRows = 29;
  Numbers numbers;
  const auto weights = numbers.take(kIn * kOut);
  const auto bias = numbers.take(kOut);
  const auto x = numbers.take(kRows * kIn);
  const Matrix matrix{weights.data(), bias.data(), kIn, kOut, kOut, 1};
  const auto expected = product(matrix, x, kRows);
  struct Case {
    Precision precision;
    double error;  // of a sum of kIn products, each weight off by half a unit in its last place
  };
  for (const auto& [precision, error] :
       {Case{Precision::Float32, 1e-5}, Case{Precision::Bfloat16, kIn / 512.0}, Case{Precision::Int8, kIn / 254.0}}) {
    const OwnedMatrix packed(matrix, precision);
    const std::size_t width = packed.view().out;
    for (const Kernels* kernels : kernels()) {
      CAPTURE(kernels->name);
      std::vector<float> y(kRows * width, 9.0F);
      kernels->multiply(packed.view(), x.data(), kIn, kRows, y.data(), width, 0, width / kPanel);
      check_close(y, expected, error);
      // The sums of a row are the same, bit for bit, whatever else is computed with it.
      std::vector<float> alone(width, 9.0F);
      for (std::size_t panel = 0; panel < width / kPanel; ++panel) {
        kernels->multiply(packed.view(), &x[5 * kIn], kIn, 1, alone.data(), width, panel, panel + 1);
      }
      CHECK(std::equal(alone.begin(), alone.end(), y.begin() + 5 * static_cast<std::ptrdiff_t>(width)));
    }
  }
}

TEST_CASE("matrices of the same inputs stand side by side, in either order in memory") {
  constexpr std::size_t kIn = 9;
  constexpr std::size_t kOut = 5;
  constexpr std::size_t kMore = 40;
  Numbers numbers;
  const auto weights = numbers.take(kIn * kOut);
  const auto more = numbers.take(kIn * kMore);
  const auto bias = numbers.take(kMore);
  const auto x = numbers.take(kIn);
  std::vector<float> turned(kIn * kOut);
  for (std::size_t i = 0; i < kIn; ++i) {
    for (std::size_t o = 0; o < kOut; ++o) turned[o * kIn + i] = weights[i * kOut + o];
  }
  const Matrix second{more.data(), bias.data(), kIn, kMore, kMore, 1};
  for (const Precision precision : {Precision::Float32, Precision::Bfloat16, Precision::Int8}) {
    const std::array parts{Matrix{weights.data(), nullptr, kIn, kOut, kOut, 1}, second};
    const std::array same{Matrix{turned.data(), nullptr, kIn, kOut, 1, kIn}, second};
    const OwnedMatrix both(parts, precision);
    const OwnedMatrix again(same, precision);
    const OwnedMatrix first(parts[0], precision);
    const OwnedMatrix last(second, precision);
    REQUIRE(both.view().out == padded(kOut) + padded(kMore));
    const Kernels& kernels = *midigpt::transformer::kernels().front();
    const auto multiplied = [&](const OwnedMatrix& matrix) {
      std::vector<float> y(matrix.view().out);
      kernels.multiply(matrix.view(), x.data(), kIn, 1, y.data(), y.size(), 0, y.size() / kPanel);
      return y;
    };
    std::vector<float> expected = multiplied(first);
    const std::vector<float> rest = multiplied(last);
    expected.insert(expected.end(), rest.begin(), rest.end());
    CHECK(multiplied(both) == expected);
    CHECK(multiplied(again) == expected);
  }
}

TEST_CASE("RMS norm and SwiGLU") {
  constexpr std::size_t kSize = 50;
  Numbers numbers;
  const auto x = numbers.take(kSize);
  const auto weight = numbers.take(kSize);
  double squares = 0;
  for (const float value : x) squares += double{value} * double{value} / double{kSize};
  std::vector<double> normed(padded(kSize), 0.0);
  for (std::size_t i = 0; i < kSize; ++i) normed[i] = x[i] / std::sqrt(squares + 1e-5) * double{weight[i]};
  constexpr std::size_t kInner = padded(400);
  std::vector<float> gated(2 * kInner);
  std::vector<double> activated;
  for (std::size_t i = 0; i < kInner; ++i) {
    gated[i] = (static_cast<float>(i) - 200.0F) / 10.0F;
    gated[kInner + i] = numbers.next();
    activated.push_back(gated[i] / (1.0 + std::exp(-double{gated[i]})) * double{gated[kInner + i]});
  }
  for (const Kernels* kernels : kernels()) {
    CAPTURE(kernels->name);
    std::vector<float> y(padded(kSize), 9.0F);
    kernels->rms_norm(x.data(), weight.data(), kSize, y.data());
    check_close(y, normed, 1e-5);
    std::vector<float> swiglu = gated;
    kernels->swiglu(swiglu.data(), kInner);
    swiglu.resize(kInner);
    check_close(swiglu, activated, 1e-5);
  }
}

TEST_CASE("layer norm and GELU") {
  constexpr std::size_t kSize = 50;
  Numbers numbers;
  const auto x = numbers.take(kSize);
  const auto weight = numbers.take(kSize);
  const auto bias = numbers.take(kSize);
  double mean = 0;
  for (const float value : x) mean += value / double{kSize};
  double variance = 0;
  for (const float value : x) variance += (value - mean) * (value - mean) / double{kSize};
  std::vector<double> normed(padded(kSize), 0.0);
  for (std::size_t i = 0; i < kSize; ++i) {
    normed[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * double{weight[i]} + double{bias[i]};
  }
  std::vector<float> steps(padded(400));
  std::vector<double> activated;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    steps[i] = (static_cast<float>(i) - 200.0F) / 10.0F;
    const double v = steps[i];
    activated.push_back(0.5 * v * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (v + 0.044715 * v * v * v))));
  }
  for (const Kernels* kernels : kernels()) {
    CAPTURE(kernels->name);
    std::vector<float> y(padded(kSize), 9.0F);
    kernels->layer_norm(x.data(), weight.data(), bias.data(), kSize, y.data());
    check_close(y, normed, 1e-5);
    std::vector<float> gelu = steps;
    kernels->gelu(gelu.data(), gelu.size());
    check_close(gelu, activated, 1e-5);
  }
}

TEST_CASE("weights that are no numbers stay no numbers in every precision, the smallest weights stay finite") {
  const std::vector<float> weights{std::nanf(""), INFINITY, 1e-45F, std::nanf("0x3FFFFF")};
  const Matrix matrix{weights.data(), nullptr, 1, 4, 4, 1};
  const float one = 1.0F;
  for (const Precision precision : {Precision::Float32, Precision::Bfloat16, Precision::Int8}) {
    const OwnedMatrix packed(matrix, precision);
    for (const Kernels* kernels : kernels()) {
      CAPTURE(kernels->name);
      std::vector<float> y(kPanel);
      kernels->multiply(packed.view(), &one, 1, 1, y.data(), kPanel, 0, 1);
      CHECK(std::isnan(y[0]));
      CHECK_FALSE(std::isfinite(y[1]));
      CHECK(std::fabs(y[2]) < 1e-37F);
      CHECK(std::isnan(y[3]));
    }
  }
}

}  // namespace
