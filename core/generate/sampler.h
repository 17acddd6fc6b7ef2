// Sampler: draws the next token from logits. The order of operations is llama.cpp's: biases, repetition
// penalty, top-k, top-p, min-p, temperature.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/files/random.h"
#include "kernels/base/check.h"

namespace natrix {

/// Added to a token's logit; −inf bans the token.
struct LogitBias {
  int64_t token;
  double bias;
};

struct SamplerConfig {
  double temperature = 0.8;     // 0: greedy, the largest logit; of equal logits the smallest index
  int64_t top_k = 40;           // 0: off
  double top_p = 0.95;          // 1: off
  double min_p = 0.05;          // 0: off; relative to the most likely token's probability
  double repeat_penalty = 1.0;  // 1: off (arXiv 1909.05858)
  int64_t repeat_last_n = 64;   // number of recent tokens that the penalty applies to
  uint64_t seed = 0;
  std::vector<LogitBias> logit_bias = {};  // several for one token add up
};

/// Unusable logits: one is NaN or +inf, or all are −inf.
class NonfiniteLogits : public RunError {
 public:
  using RunError::RunError;
};

/// Whether the largest logit exists and is finite. A logit of −inf masks its token.
bool has_choice(std::span<const float> logits);

class Sampler {
 public:
  explicit Sampler(const SamplerConfig& config);

  /// Adds a token to those that the penalty considers. Call it for the prompt's tokens and each sampled one.
  void accept(int64_t token);
  /// Returns an index of `logits`, for any configuration; never one whose logit is −inf. NonfiniteLogits if
  /// has_choice() is false. InputError if the biases ban every token.
  int64_t sample(std::span<const float> logits);

 private:
  struct Candidate {
    int64_t token;
    double logit, probability;
  };
  void collect(std::span<const float> logits);  // candidates_ = unmasked tokens, with biases and the penalty
  void truncate();                              // top-k, top-p, min-p; leaves candidates_ sorted
  int64_t draw();

  SamplerConfig config_;
  SplitMix64 random_;
  std::deque<int64_t> recent_;
  std::vector<Candidate> candidates_;  // scratch of sample()
};

}  // namespace natrix
