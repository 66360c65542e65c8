#include "sample/token_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sample/philox.h"

namespace midigpt::sample {

namespace {

// Number `counter` of keys.uniforms.
double uniform(std::uint64_t key, std::uint64_t counter) {
  const PhiloxWords words = philox({counter / 2, 0}, key);
  return static_cast<double>((counter % 2 == 0 ? words.first : words.second) >> 11) * 0x1p-53;
}

template <class Iterator>
double total(Iterator first, Iterator last) {
  double sum = 0;
  for (; first != last; ++first) sum += first->weight;
  return sum;
}

}  // namespace

std::int32_t TokenSampler::choose(const float* logits, const std::uint8_t* allowed, std::size_t size,
                                  double temperature, std::uint64_t key, std::uint64_t counter) {
  candidates_.clear();
  double largest = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < size; ++i) {
    if (allowed[i] == 0) continue;
    const auto logit = static_cast<double>(logits[i]);
    if (!std::isfinite(logit)) return -2;
    largest = std::max(largest, logit);
    candidates_.push_back({logit, static_cast<std::int32_t>(i)});
  }
  if (candidates_.empty()) return -1;
  if (temperature <= 0) {
    const auto first = std::find_if(candidates_.begin(), candidates_.end(),
                                    [largest](const Candidate& candidate) { return candidate.weight == largest; });
    return first->token;
  }
  for (Candidate& candidate : candidates_) candidate.weight = std::exp((candidate.weight - largest) / temperature);
  filter();
  const double target = uniform(key, counter) * total(candidates_.begin(), candidates_.end());
  double reached = 0;
  for (const Candidate& candidate : candidates_) {
    reached += candidate.weight;
    if (reached > target) return candidate.token;
  }
  return candidates_.back().token;
}

void TokenSampler::filter() {
  if (filters_.top_k <= 0 && filters_.top_p >= 1 && filters_.mask_k <= 0 && filters_.mask_p <= 0) return;
  std::stable_sort(candidates_.begin(), candidates_.end(),
                   [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
  auto first = candidates_.begin();
  auto last = candidates_.end();
  if (filters_.top_k > 0) last = first + std::min<std::int64_t>(filters_.top_k, last - first);
  if (filters_.top_p < 1) {
    const double enough = filters_.top_p * total(first, last);
    double kept = 0;
    auto end = first;
    do kept += (end++)->weight;
    while (end != last && kept < enough);
    last = end;
  }
  if (filters_.mask_k > 0) first += std::min<std::int64_t>(filters_.mask_k, last - first - 1);
  if (filters_.mask_p > 0) {
    const double enough = filters_.mask_p * total(first, last);
    double dropped = 0;
    while (last - first > 1 && dropped < enough) dropped += (first++)->weight;
  }
  candidates_.erase(last, candidates_.end());
  candidates_.erase(candidates_.begin(), first);
}

}  // namespace midigpt::sample
