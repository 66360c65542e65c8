// Choosing a token by its logit, keyed: the same logits, mask and key give the same token.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace midigpt::sample {

// How the distribution is cut before a token is drawn, in this order.
struct Filters {
  std::int64_t top_k = 0;   // keep the k most probable; 0: all
  double top_p = 1;         // then the fewest most probable whose share reaches p; 1: all
  std::int64_t mask_k = 0;  // then drop the k most probable, but one
  double mask_p = 0;        // then the most probable until their share reaches p, but one
};

// Weights of tokens within their type. Each type keeps its probability: a token's share of it is proportional to its
// probability times its weight. Where all allowed tokens of a type have weight 0, they keep their shares.
struct Weights {
  const double* of_token = nullptr;    // [size], at least 0; null: all 1
  const std::uint8_t* type = nullptr;  // [size]
};

class TokenSampler {
 public:
  explicit TokenSampler(const Filters& filters) : filters_(filters) {}

  // A token among those with allowed[i] != 0, drawn by the key's number `counter`; temperature 0: the most probable.
  // -1 if none is allowed, -2 if a logit is not finite.
  std::int32_t choose(const float* logits, const std::uint8_t* allowed, std::size_t size, double temperature,
                      std::uint64_t key, std::uint64_t counter, const Weights& weights = {});

 private:
  struct Candidate {
    double weight;
    std::int32_t token;
  };
  // The candidates of one type.
  struct Share {
    bool is_weighted = false;
    double mass = 0;     // of their probabilities
    double largest = 0;  // logarithm of the largest probability times weight
    double sum = 0;      // of these products, in units of the largest
  };

  void filter();
  [[nodiscard]] std::int32_t most_probable(double largest, const Weights& weights) const;
  void reweigh(const Weights& weights);

  Filters filters_;
  std::vector<Candidate> candidates_;
  std::array<Share, 256> shares_{};
};

}  // namespace midigpt::sample
