// Sampler: the next token from logits. The chain is llama.cpp's:
// repetition penalty, top-k, top-p, min-p, temperature.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/files/random.h"
#include "kernels/base/check.h"

namespace natrix {

struct SamplerConfig {
  double temperature = 0.8;     // 0: greedy, the largest logit (the smallest index of equals)
  int64_t top_k = 40;           // 0: off
  double top_p = 0.95;          // 1: off
  double min_p = 0.05;          // 0: off; relative to the most likely token's probability
  double repeat_penalty = 1.0;  // 1: off (arXiv 1909.05858)
  int64_t repeat_last_n = 64;   // tokens that the penalty looks back on
  uint64_t seed = 0;
};

/// Logits that say nothing: a NaN or +inf among them, or all of them −inf.
class NonfiniteLogits : public RunError {
 public:
  using RunError::RunError;
};

/// Whether there is a largest of them, and it is finite. A logit of −inf is that of a token that is masked.
bool has_choice(std::span<const float> logits);

class Sampler {
 public:
  explicit Sampler(const SamplerConfig& config) : config_(config), random_(config.seed) {}

  /// A token that the penalty shall know of: the prompt's, and each sampled one.
  void accept(int64_t token);
  /// One of the indices of `logits`, whatever the configuration; never one whose logit is −inf.
  /// NonfiniteLogits where there is no choice.
  int64_t sample(std::span<const float> logits);

 private:
  struct Candidate {
    int64_t token;
    double logit, probability;
  };
  void collect(std::span<const float> logits);  // candidates_: what is not masked, after the penalty
  void truncate();                              // top-k, top-p, min-p; candidates_ end sorted
  int64_t draw();

  SamplerConfig config_;
  SplitMix64 random_;
  std::deque<int64_t> recent_;
  std::vector<Candidate> candidates_;  // scratch of sample()
};

}  // namespace natrix
