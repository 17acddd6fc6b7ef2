// Sampler: the next token from logits. The chain is llama.cpp's:
// repetition penalty, top-k, top-p, min-p, temperature.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "core/random.h"

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

class Sampler {
 public:
  explicit Sampler(const SamplerConfig& config) : config_(config), random_(config.seed) {}

  /// A token that the penalty shall know of: the prompt's, and each sampled one.
  void accept(int64_t token);
  int64_t sample(std::span<const float> logits);

 private:
  struct Candidate {
    int64_t token;
    double logit, probability;
  };
  void penalise(std::vector<Candidate>& candidates) const;
  void truncate(std::vector<Candidate>& candidates) const;  // top-k, top-p, min-p; candidates end sorted

  SamplerConfig config_;
  SplitMix64 random_;
  std::deque<int64_t> recent_;
};

}  // namespace natrix
