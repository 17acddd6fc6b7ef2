// Log-probabilities of tokens under the model: natural logarithms of the softmax of its logits, before biases,
// penalties, truncation and temperature change them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace natrix {

struct TokenLogProbability {
  int64_t token;
  double log_probability;
};

struct LogProbabilities {
  TokenLogProbability chosen;
  std::vector<TokenLogProbability> top;  // the most likely first; of equals the smallest token first
};

/// Of the token that was chosen, and of the `count` most likely. Tokens of probability 0 are never among
/// these. has_choice(logits) must hold (sampler.h).
LogProbabilities log_probabilities(std::span<const float> logits, int64_t chosen, int64_t count);

}  // namespace natrix
