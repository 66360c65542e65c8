// Token sequences that a GPT-2 reads and goes on with: their keys and values are kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "gpt2/model.h"
#include "gpt2/workers.h"

namespace midigpt::gpt2 {

class Sequences {
 public:
  // `count` empty sequences of at most `capacity` tokens each.
  Sequences(std::shared_ptr<const Model> model, std::size_t count, std::size_t capacity, std::size_t threads);

  // Reads tokens[offsets[n] .. offsets[n + 1]) at `positions` into sequence n, all of them valid ids and positions
  // within capacity. logits [count, vocab]: row n scores what comes after sequence n; where nothing was read it stays.
  void read(std::span<const std::int32_t> tokens, std::span<const std::int32_t> positions,
            std::span<const std::int64_t> offsets, float* logits);

  // Sequence n becomes a copy of other's sequence from[n].
  void copy(const Sequences& other, std::span<const std::int64_t> from);

  [[nodiscard]] std::size_t count() const { return lengths_.size(); }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  [[nodiscard]] std::size_t length(std::size_t index) const { return lengths_[index]; }
  [[nodiscard]] const Model& model() const { return *model_; }

 private:
  struct Item {  // a token on its way through the layers
    std::size_t sequence = 0;
    std::size_t slot = 0;
    bool last = false;  // of what is read into its sequence
  };
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };

  void read_block(std::span<const std::int32_t> tokens, std::span<const std::int32_t> positions);
  void attend(std::size_t layer);
  void keep(std::size_t layer, std::size_t row);
  void score(float* logits);
  void multiply(const PackedMatrix& matrix, const float* x, std::size_t x_stride, std::size_t rows, float* y,
                std::size_t y_stride);
  [[nodiscard]] HeadCache cache(std::size_t sequence, std::size_t layer, std::size_t head);
  [[nodiscard]] std::size_t head_floats() const { return 2 * head_size_ * capacity_; }

  std::shared_ptr<const Model> model_;
  const Kernels& kernels_;
  std::size_t capacity_;   // padded
  std::size_t head_size_;  // padded
  Workers workers_;
  std::vector<std::size_t> lengths_;
  std::vector<std::unique_ptr<float[], Free>> caches_;  // [layers, heads, 2, head size, capacity] of each sequence

  // Of the tokens that are being read.
  std::vector<Item> items_;
  std::vector<std::size_t> scored_;
  std::vector<float> residual_;
  std::vector<float> normed_;
  std::vector<float> wide_;
  std::vector<float> mixed_;
  // Of each thread.
  std::vector<std::vector<float>> scores_;
  std::vector<std::vector<float>> queries_;
  std::vector<std::vector<float>> outs_;
};

}  // namespace midigpt::gpt2
