// Choosing a token by its logit, keyed: the same logits, mask and key give the same token.
#pragma once

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

class TokenSampler {
 public:
  explicit TokenSampler(const Filters& filters) : filters_(filters) {}

  // A token among those with allowed[i] != 0, drawn by the key's number `counter`; temperature 0: the most probable.
  // -1 if none is allowed, -2 if a logit is not finite.
  std::int32_t choose(const float* logits, const std::uint8_t* allowed, std::size_t size, double temperature,
                      std::uint64_t key, std::uint64_t counter);

 private:
  struct Candidate {
    double weight;
    std::int32_t token;
  };

  void filter();

  Filters filters_;
  std::vector<Candidate> candidates_;
};

}  // namespace midigpt::sample
