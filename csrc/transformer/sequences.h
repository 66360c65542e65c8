// Token sequences that a model reads and goes on with: their keys and values are kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "transformer/model.h"
#include "transformer/workers.h"

namespace midigpt::transformer {

class Sequences {
 public:
  // What sequences read: tokens[offsets[n] .. offsets[n + 1]) at `positions` into sequence n of `into`, all of them
  // valid ids and positions within capacity. logits [count, vocab]: row n scores what comes after sequence n; where
  // nothing was read it stays.
  struct Reading {
    Sequences* into = nullptr;
    std::span<const std::int32_t> tokens;
    std::span<const std::int32_t> positions;
    std::span<const std::int64_t> offsets;
    float* logits = nullptr;
  };

  // `count` empty sequences of at most `capacity` tokens each, and no more than the model has positions, that up to
  // `threads` threads read.
  Sequences(std::shared_ptr<const Model> model, const Kernels& kernels, std::size_t count, std::size_t capacity,
            std::size_t threads);

  void step(std::span<const std::int32_t> tokens, std::span<const std::int32_t> positions,
            std::span<const std::int64_t> offsets, float* logits);

  // Several steps in one batch with these threads, of sequences of the same model and of no larger capacity. Each gives
  // what it gives alone, to the bit.
  void step_together(std::span<const Reading> readings);

  // Sequence n, which has read nothing, begins as other's sequence from[n] is now. They share what was read.
  void begin_as(const Sequences& other, std::span<const std::int64_t> from);

  // False where reading would wait for threads that a forked process does not have.
  [[nodiscard]] bool can_read() const { return workers_.are_here(); }
  [[nodiscard]] std::size_t count() const { return sequences_.size(); }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  [[nodiscard]] std::size_t length(std::size_t index) const { return sequences_[index].length(); }
  [[nodiscard]] const Model& model() const { return *model_; }

 private:
  // Keys and values of consecutive tokens: [layers, kv_heads] of keys, then values.
  struct Cache {
    struct Free {
      void operator()(float* pointer) const { std::free(pointer); }
    };
    std::unique_ptr<float[], Free> memory;
    std::size_t capacity = 0;  // padded
  };
  struct Sequence {
    std::shared_ptr<Cache> prefix;  // of another sequence, its first prefix_length tokens; may be nothing
    std::size_t prefix_length = 0;
    std::shared_ptr<Cache> own;
    std::size_t own_length = 0;
    [[nodiscard]] std::size_t length() const { return prefix_length + own_length; }
  };
  struct Item {  // a token on its way through the layers
    std::int32_t token = 0;
    std::int32_t position = 0;
    const Sequence* sequence = nullptr;
    std::size_t slot = 0;     // in the sequence's own cache
    float* logits = nullptr;  // of the last token that is read into its sequence
  };

  void read_group();
  void normalise(const Norm& norm, const float* from, float* to) const;
  void attend(std::size_t layer);
  void turn(std::size_t row);
  void keep(std::size_t layer, std::size_t row);
  void score();
  void split(std::size_t count, const Workers::Work& work);
  void multiply(const PackedMatrix& matrix, const float* x, std::size_t x_stride, std::size_t rows, float* y,
                std::size_t y_stride);
  [[nodiscard]] std::shared_ptr<Cache> make_cache(std::size_t capacity) const;
  [[nodiscard]] HeadCache head_of(const std::shared_ptr<Cache>& cache, std::size_t layer, std::size_t head) const;

  std::shared_ptr<const Model> model_;
  const Kernels& kernels_;
  std::size_t capacity_;
  std::size_t head_size_;  // padded
  std::size_t weights_;    // that every token is multiplied by
  Workers workers_;
  std::vector<Sequence> sequences_;

  // Of the tokens that are being read.
  bool is_shared_ = false;  // among the threads
  std::vector<Item> items_;
  std::vector<float*> scored_;
  std::vector<float> residual_;
  std::vector<float> normed_;
  std::vector<float> wide_;
  std::vector<float> mixed_;
  std::vector<float> turns_;  // of rotary positions: for each row the cosines, then the sines
  // Of each thread.
  std::vector<std::vector<float>> scores_;
  std::vector<std::vector<float>> queries_;
  std::vector<std::vector<float>> outs_;
};

}  // namespace midigpt::transformer
