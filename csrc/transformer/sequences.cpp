#include "transformer/sequences.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <new>

namespace midigpt::transformer {

namespace {

// Tokens that go through the layers together: their activations stay in the cache.
constexpr std::size_t kGroup = 96;
// Multiplications below which waking another thread costs more than it saves.
constexpr std::size_t kWorthSplitting = std::size_t{1} << 17;
// Multiplications of a group of tokens below which this thread does all of it. One token of a model of a million
// weights takes it less than 100 microseconds; the others would fall asleep between two tokens.
constexpr std::size_t kWorthSharing = std::size_t{1} << 22;

std::size_t weights_of(const Model& model) {
  const auto size = [](const PackedMatrix& matrix) { return matrix.in * matrix.out; };
  std::size_t all = 0;
  for (const Layer& layer : model.layers()) {
    for (const auto* weights : {&layer.attention, &layer.projection, &layer.expansion, &layer.contraction}) {
      all += size(weights->view());
    }
  }
  return all;
}

}  // namespace

Sequences::Sequences(std::shared_ptr<const Model> model, const Kernels& kernels, std::size_t count,
                     std::size_t capacity, std::size_t threads)
    : model_(std::move(model)),
      kernels_(kernels),
      capacity_(std::min(capacity, model_->shape().positions)),
      head_size_(padded(model_->shape().head_size())),
      weights_(weights_of(*model_)),
      workers_(std::max<std::size_t>(threads, 1)),
      sequences_(count),
      scores_(workers_.size(), std::vector<float>(kMostQueries * (padded(capacity_) + kPad))),
      queries_(workers_.size(), std::vector<float>(kMostQueries * head_size_)),
      outs_(workers_.size(), std::vector<float>(kMostQueries * head_size_)) {}

std::shared_ptr<Sequences::Cache> Sequences::make_cache(std::size_t capacity) const {
  const Shape& shape = model_->shape();
  auto cache = std::make_shared<Cache>();
  cache->capacity = padded(capacity);
  // Zeroed, for the padding; pages cost nothing until they are touched.
  const std::size_t size = shape.layers * shape.kv_heads * 2 * head_size_ * cache->capacity;
  cache->memory.reset(static_cast<float*>(std::calloc(size, sizeof(float))));
  if (cache->memory == nullptr) throw std::bad_alloc();
  return cache;
}

HeadCache Sequences::head_of(const std::shared_ptr<Cache>& cache, std::size_t layer, std::size_t head) const {
  if (cache == nullptr) return {};
  const std::size_t size = head_size_ * cache->capacity;
  float* keys = cache->memory.get() + (layer * model_->shape().kv_heads + head) * 2 * size;
  return {keys, keys + size};
}

void Sequences::step(std::span<const std::int32_t> tokens, std::span<const std::int32_t> positions,
                     // NOLINTNEXTLINE(readability-non-const-parameter): what they point to is written by way of Reading
                     std::span<const std::int64_t> offsets, float* logits) {
  const Reading reading{this, tokens, positions, offsets, logits};
  step_together({&reading, 1});
}

void Sequences::step_together(std::span<const Reading> readings) {
  items_.clear();
  for (const Reading& reading : readings) {
    Sequences& into = *reading.into;
    const std::size_t total = reading.tokens.size();
    std::size_t sequence = 0;
    for (std::size_t i = 0; i < total; ++i) {
      const auto index = static_cast<std::int64_t>(i);
      while (index >= reading.offsets[sequence + 1]) ++sequence;
      Sequence& read_into = into.sequences_[sequence];
      if (read_into.own == nullptr) read_into.own = into.make_cache(into.capacity_ - read_into.prefix_length);
      const bool last = index + 1 == reading.offsets[sequence + 1];
      items_.push_back({reading.tokens[i], reading.positions[i], &read_into, read_into.own_length++,
                        last ? reading.logits + sequence * model_->shape().vocab : nullptr});
      if (items_.size() < kGroup) continue;
      read_group();
      items_.clear();
    }
  }
  if (!items_.empty()) read_group();
}

void Sequences::read_group() {
  const Shape& shape = model_->shape();
  const std::size_t rows = items_.size();
  const std::size_t width = padded(shape.width);
  const Layer& widest = model_->layers().front();
  const std::size_t qkv = widest.attention.view().out;
  const std::size_t wide = widest.expansion.view().out;
  is_shared_ = weights_ * rows >= kWorthSharing;
  residual_.assign(rows * width, 0.0F);
  normed_.resize(rows * width);
  wide_.resize(rows * std::max(wide, qkv));
  mixed_.resize(rows * width);
  const std::vector<float>& speeds = model_->speeds();
  turns_.resize(rows * 2 * speeds.size());
  for (std::size_t r = 0; r < rows; ++r) {
    const auto place = static_cast<std::size_t>(items_[r].position);
    const float* token = model_->token(static_cast<std::size_t>(items_[r].token));
    std::copy_n(token, shape.width, &residual_[r * width]);
    if (const float* position = model_->position(place)) {
      for (std::size_t i = 0; i < shape.width; ++i) residual_[r * width + i] += position[i];
    }
    float* turns = turns_.data() + r * 2 * speeds.size();
    for (std::size_t i = 0; i < speeds.size(); ++i) {
      const float angle = static_cast<float>(place) * speeds[i];
      turns[i] = std::cos(angle);
      turns[speeds.size() + i] = std::sin(angle);
    }
  }
  const auto normalise_rows = [&](const Norm& norm) {
    split(rows, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) normalise(norm, &residual_[r * width], &normed_[r * width]);
    });
  };
  const auto add = [&] {
    for (std::size_t i = 0; i < rows * width; ++i) residual_[i] += normed_[i];
  };
  for (std::size_t index = 0; index < shape.layers; ++index) {
    const Layer& layer = model_->layers()[index];
    normalise_rows(layer.norm_1);
    multiply(layer.attention.view(), normed_.data(), width, rows, wide_.data(), qkv);
    attend(index);
    multiply(layer.projection.view(), mixed_.data(), width, rows, normed_.data(), width);
    add();
    normalise_rows(layer.norm_2);
    multiply(layer.expansion.view(), normed_.data(), width, rows, wide_.data(), wide);
    split(rows, [&](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        if (layer.has_gate) {
          kernels_.swiglu(&wide_[r * wide], wide / 2);
        } else {
          kernels_.gelu(&wide_[r * wide], wide);
        }
      }
    });
    multiply(layer.contraction.view(), wide_.data(), wide, rows, normed_.data(), width);
    add();
  }
  score();
}

void Sequences::normalise(const Norm& norm, const float* from, float* to) const {
  const std::size_t width = model_->shape().width;
  if (norm.bias.empty()) {
    kernels_.rms_norm(from, norm.weight.data(), width, to);
  } else {
    kernels_.layer_norm(from, norm.weight.data(), norm.bias.data(), width, to);
  }
}

void Sequences::split(std::size_t count, const Workers::Work& work) {
  if (is_shared_) {
    workers_.split(count, work);
  } else {
    work(0, 0, count);
  }
}

void Sequences::multiply(const PackedMatrix& matrix, const float* x, std::size_t x_stride, std::size_t rows, float* y,
                         std::size_t y_stride) {
  const std::size_t panels = matrix.out / kPanel;
  if (matrix.in * matrix.out * rows < kWorthSplitting) {
    kernels_.multiply(matrix, x, x_stride, rows, y, y_stride, 0, panels);
    return;
  }
  split(panels, [&](std::size_t, std::size_t first, std::size_t last) {
    kernels_.multiply(matrix, x, x_stride, rows, y, y_stride, first, last);
  });
}

// Turns the queries and keys of a row by its rotary position.
void Sequences::turn(std::size_t row) {
  const Shape& shape = model_->shape();
  const std::size_t half = model_->speeds().size();
  const float* cosines = turns_.data() + row * 2 * half;
  const float* sines = cosines + half;
  float* const queries = &wide_[row * model_->layers().front().attention.view().out];
  for (std::size_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
    float* first = head < shape.heads ? queries + head * 2 * half
                                      : queries + padded(shape.width) + (head - shape.heads) * 2 * half;
    float* second = first + half;
    for (std::size_t i = 0; i < half; ++i) {
      const float x = first[i];
      const float y = second[i];
      first[i] = x * cosines[i] - y * sines[i];
      second[i] = y * cosines[i] + x * sines[i];
    }
  }
}

void Sequences::keep(std::size_t layer, std::size_t row) {
  const Shape& shape = model_->shape();
  const Item& item = items_[row];
  const float* keys = &wide_[row * model_->layers()[layer].attention.view().out] + padded(shape.width);
  const float* values = keys + padded(shape.kv_width());
  for (std::size_t head = 0; head < shape.kv_heads; ++head) {
    const HeadCache to = head_of(item.sequence->own, layer, head);
    const float* key = keys + head * shape.head_size();
    for (std::size_t d = 0; d < shape.head_size(); ++d) to.keys[key_place(item.slot, d, head_size_)] = key[d];
    std::copy_n(values + head * shape.head_size(), shape.head_size(), to.values + item.slot * head_size_);
  }
}

void Sequences::attend(std::size_t layer) {
  const Shape& shape = model_->shape();
  const std::size_t rows = items_.size();
  for (std::size_t row = 0; row < rows; ++row) {
    if (!model_->speeds().empty()) turn(row);
    keep(layer, row);
  }
  const std::size_t width = padded(shape.width);
  const std::size_t stride = model_->layers()[layer].attention.view().out;
  const std::size_t sharing = shape.heads / shape.kv_heads;
  const std::size_t size = shape.head_size();
  const float scale = 1.0F / std::sqrt(static_cast<float>(size));
  const auto work = [&](std::size_t part, std::size_t first, std::size_t last) {
    float* queries = queries_[part].data();
    float* outs = outs_[part].data();
    std::array<Visible, kMostQueries> visible;
    for (std::size_t i = first; i < last;) {
      const std::size_t head = i / rows;
      const std::size_t row = i % rows;
      const Sequence& leader = *items_[row].sequence;
      const std::size_t most = std::min({kMostQueries, rows - row, last - i});
      std::size_t count = 0;
      for (; count < most; ++count) {
        const Item& item = items_[row + count];
        const Sequence& sequence = *item.sequence;
        const bool together = sequence.prefix != nullptr && sequence.prefix == leader.prefix &&
                              sequence.prefix_length == leader.prefix_length;
        if (count > 0 && !together) break;
        std::copy_n(&wide_[(row + count) * stride + head * size], size, queries + count * head_size_);
        visible[count] = {head_of(sequence.prefix, layer, head / sharing), sequence.prefix_length,
                          head_of(sequence.own, layer, head / sharing), item.slot + 1, head_size_};
      }
      kernels_.attend(visible.data(), count, queries, scale, scores_[part].data(), padded(capacity_) + kPad, outs);
      for (std::size_t n = 0; n < count; ++n) {
        std::copy_n(outs + n * head_size_, size, &mixed_[(row + n) * width + head * size]);
      }
      i += count;
    }
  };
  std::size_t keys = 0;
  for (const Item& item : items_) keys += item.sequence->prefix_length + item.slot + 1;
  if (2 * keys * shape.width < kWorthSplitting) {
    work(0, 0, rows * shape.heads);
  } else {
    split(rows * shape.heads, work);
  }
}

// The logits of those tokens that are the last of their sequence.
void Sequences::score() {
  const Shape& shape = model_->shape();
  const std::size_t width = padded(shape.width);
  scored_.clear();
  for (std::size_t row = 0; row < items_.size(); ++row) {
    if (items_[row].logits == nullptr) continue;
    const std::size_t to = scored_.size() * width;
    normalise(model_->norm(), &residual_[row * width], &normed_[to]);
    scored_.push_back(items_[row].logits);
  }
  if (scored_.empty()) return;
  const PackedMatrix& head = model_->head();
  wide_.resize(std::max(wide_.size(), scored_.size() * head.out));
  multiply(head, normed_.data(), width, scored_.size(), wide_.data(), head.out);
  for (std::size_t i = 0; i < scored_.size(); ++i) {
    std::copy_n(&wide_[i * head.out], shape.vocab, scored_[i]);
  }
}

void Sequences::begin_as(const Sequences& other, std::span<const std::int64_t> from) {
  const std::size_t heads = model_->shape().kv_heads;
  for (std::size_t n = 0; n < from.size(); ++n) {
    const Sequence& source = other.sequences_[static_cast<std::size_t>(from[n])];
    Sequence& made = sequences_[n];
    if (source.prefix_length == 0) {
      // The source may go on: it writes behind what is shared.
      made = {source.own, source.own_length, nullptr, 0};
      continue;
    }
    made = {source.prefix, source.prefix_length, make_cache(capacity_ - source.prefix_length), source.own_length};
    if (source.own_length == 0) continue;
    for (std::size_t layer = 0; layer < model_->shape().layers; ++layer) {
      for (std::size_t head = 0; head < heads; ++head) {
        const HeadCache old = head_of(source.own, layer, head);
        const HeadCache now = head_of(made.own, layer, head);
        std::copy_n(old.keys, padded(source.own_length) * head_size_, now.keys);
        std::copy_n(old.values, source.own_length * head_size_, now.values);
      }
    }
  }
}

}  // namespace midigpt::transformer
