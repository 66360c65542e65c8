#include "transformer/sequences.h"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#include "transformer/numbers.h"

namespace {

using namespace midigpt::transformer;

using Tokens = std::vector<std::int32_t>;

constexpr std::size_t kVocab = 11;
constexpr std::size_t kCapacity = 200;

// A GPT-2: layer norms, learned positions, GELU, as many heads of keys as of queries.
constexpr Shape kGpt2{kVocab, kCapacity, 24, 2, 3, 3, 96};
// A Llama: RMS norms, rotary positions, SwiGLU, two heads of queries for one of keys.
constexpr Shape kLlama{kVocab, kCapacity, 48, 2, 4, 2, 40};

std::shared_ptr<const Model> model(const Shape& shape) {
  const bool is_llama = shape.kv_heads < shape.heads;
  midigpt::tests::Numbers numbers;
  std::deque<std::vector<float>> kept;
  const auto take = [&](std::size_t count) { return kept.emplace_back(numbers.take(count)).data(); };
  const auto linear = [&](std::size_t in, std::size_t out) {
    const float* weight = take(in * out);
    return Matrix{weight, is_llama ? nullptr : take(out), in, out, out, 1};
  };
  const std::size_t width = shape.width;
  const auto norm = [&] {
    const float* weight = take(width);
    return NormTensors{weight, is_llama ? nullptr : take(width)};
  };
  Tensors tensors;
  tensors.tokens = take(kVocab * width);
  if (is_llama) {
    tensors.speeds = take(shape.head_size() / 2);
  } else {
    tensors.positions = take(shape.positions * width);
  }
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    LayerTensors& made = tensors.layers.emplace_back();
    made.norm_1 = norm();
    made.queries = linear(width, width);
    made.keys = linear(width, shape.kv_width());
    made.values = linear(width, shape.kv_width());
    made.projection = linear(width, width);
    made.norm_2 = norm();
    if (is_llama) made.gate = linear(width, shape.inner);
    made.expansion = linear(width, shape.inner);
    made.contraction = linear(shape.inner, width);
  }
  tensors.norm = norm();
  tensors.head = {tensors.tokens, nullptr, width, kVocab, 1, width};
  return std::make_shared<Model>(shape, tensors, Precision::Float32);
}

// Reads each row of `rows` into its sequence and answers the logits, -1 where nothing was read.
std::vector<float> read(Sequences& sequences, const std::vector<Tokens>& rows) {
  Tokens tokens;
  Tokens positions;
  std::vector<std::int64_t> offsets{0};
  for (std::size_t n = 0; n < rows.size(); ++n) {
    tokens.insert(tokens.end(), rows[n].begin(), rows[n].end());
    const std::size_t begin = positions.size();
    positions.resize(tokens.size());
    std::iota(positions.begin() + static_cast<std::ptrdiff_t>(begin), positions.end(),
              static_cast<std::int32_t>(sequences.length(n)));
    offsets.push_back(static_cast<std::int64_t>(tokens.size()));
  }
  std::vector<float> logits(rows.size() * kVocab, -1.0F);
  sequences.step(tokens, positions, offsets, logits.data());
  return logits;
}

std::vector<float> row(const std::vector<float>& logits, std::size_t index) {
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(index * kVocab);
  return {begin, begin + static_cast<std::ptrdiff_t>(kVocab)};
}

// More than one block and more than one pad.
Tokens music() {
  Tokens out(150);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int32_t>(i * i % kVocab);
  return out;
}

TEST_CASE("logits are the same bits at once or token by token, alone or among others, on one thread or three") {
  const Tokens tokens = music();
  for (const Kernels* kernels : kernels()) {
    CAPTURE(kernels->name);
    for (const Shape& shape : {kGpt2, kLlama}) {
      const auto made = model(shape);
      Sequences whole(made, *kernels, 1, kCapacity, 1);
      const auto expected = read(whole, {tokens});
      CHECK(whole.length(0) == tokens.size());

      Sequences single(made, *kernels, 1, kCapacity, 1);
      std::vector<float> last;
      for (const std::int32_t token : tokens) last = read(single, {{token}});
      CHECK(last == expected);

      Sequences batch(made, *kernels, 3, kCapacity, 3);
      const auto all = read(batch, {Tokens(70, 4), tokens, {}});
      CHECK(row(all, 1) == expected);
      CHECK(row(all, 0) != expected);
      CHECK(row(all, 2) == std::vector<float>(kVocab, -1.0F));
      CHECK(batch.length(2) == 0);
    }
  }
}

TEST_CASE("sequences that begin as others go on like them and leave them alone") {
  for (const Shape& shape : {kGpt2, kLlama}) {
    const auto made = model(shape);
    const Kernels& kernels = *midigpt::transformer::kernels().front();
    const Tokens tokens = music();
    Sequences first(made, kernels, 2, kCapacity, 1);
    read(first, {tokens, {3}});
    Sequences second(made, kernels, 3, kCapacity, 1);
    second.begin_as(first, std::array<std::int64_t, 3>{0, 1, 0});
    CHECK(second.length(2) == tokens.size());
    const auto went_on = read(second, {{1, 2}, {1, 2}, {5, 6}});
    const auto originals = read(first, {{1, 2}, {1, 2}});
    CHECK(row(went_on, 0) == row(originals, 0));
    CHECK(row(went_on, 1) == row(originals, 1));
    CHECK(row(went_on, 2) != row(originals, 0));

    // Once more, from sequences that share and have read on.
    Sequences third(made, kernels, 1, kCapacity, 1);
    third.begin_as(second, std::array<std::int64_t, 1>{2});
    Tokens all = tokens;
    all.insert(all.end(), {5, 6, 7});
    Sequences plain(made, kernels, 1, kCapacity, 1);
    CHECK(read(third, {{7}}) == read(plain, {all}));
  }
}

}  // namespace
