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
                                  double temperature, std::uint64_t key, std::uint64_t counter,
                                  const Weights& weights) {
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
  if (temperature <= 0) return most_probable(largest, weights);
  for (Candidate& candidate : candidates_) candidate.weight = (candidate.weight - largest) / temperature;
  if (weights.of_token != nullptr) {
    reweigh(weights);
  } else {
    for (Candidate& candidate : candidates_) candidate.weight = std::exp(candidate.weight);
  }
  filter();
  const double target = uniform(key, counter) * total(candidates_.begin(), candidates_.end());
  double reached = 0;
  for (const Candidate& candidate : candidates_) {
    reached += candidate.weight;
    if (reached > target) return candidate.token;
  }
  return candidates_.back().token;
}

// Among equals the first. As the temperature goes to 0, weights above 0 cease to matter: of the most probable type, the
// most probable token of a weight above 0.
std::int32_t TokenSampler::most_probable(double largest, const Weights& weights) const {
  const auto is_largest = [&largest](const Candidate& candidate) { return candidate.weight == largest; };
  const std::int32_t first = std::find_if(candidates_.begin(), candidates_.end(), is_largest)->token;
  if (weights.of_token == nullptr || weights.of_token[first] > 0) return first;
  std::int32_t best = first;
  largest = -std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : candidates_) {
    if (weights.type[candidate.token] != weights.type[first] || !(weights.of_token[candidate.token] > 0)) continue;
    if (candidate.weight <= largest) continue;
    largest = candidate.weight;
    best = candidate.token;
  }
  return best;
}

// Turns the candidates' weights, logarithms, into probabilities in any unit.
void TokenSampler::reweigh(const Weights& weights) {
  const auto share_of = [this, &weights](const Candidate& candidate) -> Share& {
    return shares_[weights.type[candidate.token]];
  };
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : candidates_) share_of(candidate) = {false, 0, kNone, 0};
  for (const Candidate& candidate : candidates_) {
    Share& share = share_of(candidate);
    const double weight = weights.of_token[candidate.token];
    share.is_weighted |= weight != 1;
    share.mass += std::exp(candidate.weight);
    share.largest = std::max(share.largest, candidate.weight + std::log(weight));
  }
  const auto scaled = [&weights](const Candidate& candidate, const Share& share) {
    return std::exp(candidate.weight + std::log(weights.of_token[candidate.token]) - share.largest);
  };
  for (const Candidate& candidate : candidates_) {
    Share& share = share_of(candidate);
    if (share.is_weighted && share.largest > kNone) share.sum += scaled(candidate, share);
  }
  for (Candidate& candidate : candidates_) {
    const Share& share = share_of(candidate);
    candidate.weight = share.sum > 0 ? share.mass * (scaled(candidate, share) / share.sum) : std::exp(candidate.weight);
  }
  // Of weight 0 in a type that has others: never drawn, not even by rounding.
  std::erase_if(candidates_, [&](const Candidate& candidate) {
    return share_of(candidate).sum > 0 && !(weights.of_token[candidate.token] > 0);
  });
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
