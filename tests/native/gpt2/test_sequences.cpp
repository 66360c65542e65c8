#include "gpt2/sequences.h"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <numeric>
#include <vector>

#include "gpt2/numbers.h"

namespace {

using namespace midigpt::gpt2;

using Tokens = std::vector<std::int32_t>;

constexpr Shape kShape{11, 200, 24, 2, 3};
constexpr std::size_t kCapacity = 200;

std::shared_ptr<const Model> model() {
  midigpt::tests::Numbers numbers;
  std::deque<std::vector<float>> kept;
  const auto take = [&](std::size_t count) { return kept.emplace_back(numbers.take(count)).data(); };
  const auto linear = [&](std::size_t in, std::size_t out) {
    const float* weight = take(in * out);
    return Matrix{weight, take(out), in, out, false};
  };
  const std::size_t width = kShape.width;
  Tensors tensors;
  tensors.tokens = take(kShape.vocab * width);
  tensors.positions = take(kShape.positions * width);
  for (std::size_t layer = 0; layer < kShape.layers; ++layer) {
    LayerTensors& made = tensors.layers.emplace_back();
    made.norm_1_weight = take(width);
    made.norm_1_bias = take(width);
    made.attention = linear(width, 3 * width);
    made.projection = linear(width, width);
    made.norm_2_weight = take(width);
    made.norm_2_bias = take(width);
    made.expansion = linear(width, 4 * width);
    made.contraction = linear(4 * width, width);
  }
  tensors.norm_weight = take(width);
  tensors.norm_bias = take(width);
  tensors.head = {tensors.tokens, nullptr, width, kShape.vocab, true};
  return std::make_shared<Model>(kShape, tensors, Precision::Float32);
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
  std::vector<float> logits(rows.size() * kShape.vocab, -1.0F);
  sequences.step(tokens, positions, offsets, logits.data());
  return logits;
}

std::vector<float> row(const std::vector<float>& logits, std::size_t index) {
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(index * kShape.vocab);
  return {begin, begin + static_cast<std::ptrdiff_t>(kShape.vocab)};
}

// More than one block and more than one pad.
Tokens music() {
  Tokens out(150);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int32_t>(i * i % kShape.vocab);
  return out;
}

TEST_CASE("logits are the same bits at once or token by token, alone or among others, on one thread or three") {
  const auto gpt2 = model();
  const Tokens tokens = music();
  for (const Kernels* kernels : kernels()) {
    CAPTURE(kernels->name);
    Sequences whole(gpt2, *kernels, 1, kCapacity, 1);
    const auto expected = read(whole, {tokens});
    CHECK(whole.length(0) == tokens.size());

    Sequences single(gpt2, *kernels, 1, kCapacity, 1);
    std::vector<float> last;
    for (const std::int32_t token : tokens) last = read(single, {{token}});
    CHECK(last == expected);

    Sequences batch(gpt2, *kernels, 3, kCapacity, 3);
    const auto all = read(batch, {Tokens(70, 4), tokens, {}});
    CHECK(row(all, 1) == expected);
    CHECK(row(all, 0) != expected);
    CHECK(row(all, 2) == std::vector<float>(kShape.vocab, -1.0F));
    CHECK(batch.length(2) == 0);
  }
}

TEST_CASE("sequences that begin as others go on like them and leave them alone") {
  const auto gpt2 = model();
  const Kernels& kernels = *midigpt::gpt2::kernels().front();
  const Tokens tokens = music();
  Sequences first(gpt2, kernels, 2, kCapacity, 1);
  read(first, {tokens, {3}});
  Sequences second(gpt2, kernels, 3, kCapacity, 1);
  second.begin_as(first, std::array<std::int64_t, 3>{0, 1, 0});
  CHECK(second.length(2) == tokens.size());
  const auto went_on = read(second, {{1, 2}, {1, 2}, {5, 6}});
  const auto originals = read(first, {{1, 2}, {1, 2}});
  CHECK(row(went_on, 0) == row(originals, 0));
  CHECK(row(went_on, 1) == row(originals, 1));
  CHECK(row(went_on, 2) != row(originals, 0));

  // Once more, from sequences that share and have read on.
  Sequences third(gpt2, kernels, 1, kCapacity, 1);
  third.begin_as(second, std::array<std::int64_t, 1>{2});
  Tokens all = tokens;
  all.insert(all.end(), {5, 6, 7});
  Sequences plain(gpt2, kernels, 1, kCapacity, 1);
  CHECK(read(third, {{7}}) == read(plain, {all}));
}

}  // namespace
