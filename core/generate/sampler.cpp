#include "core/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace natrix {

void Sampler::accept(int64_t token) {
  recent_.push_back(token);
  if (static_cast<int64_t>(recent_.size()) > config_.repeat_last_n) recent_.pop_front();
}

int64_t Sampler::sample(std::span<const float> logits) {
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    candidates[i] = {static_cast<int64_t>(i), static_cast<double>(logits[i]), 0};
  if (config_.repeat_penalty != 1.0) penalise(candidates);
  if (config_.temperature <= 0) {
    const auto best =
        std::max_element(candidates.begin(), candidates.end(),
                         [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; });
    return best->token;
  }
  truncate(candidates);
  double sum = 0;
  const double top = candidates.front().logit;
  for (Candidate& c : candidates) sum += c.probability = std::exp((c.logit - top) / config_.temperature);
  double left = random_.uniform() * sum;
  for (const Candidate& c : candidates) {
    left -= c.probability;
    if (left < 0) return c.token;
  }
  return candidates.back().token;
}

void Sampler::penalise(std::vector<Candidate>& candidates) const {
  const std::unordered_set<int64_t> seen(recent_.begin(), recent_.end());
  for (Candidate& c : candidates) {
    if (seen.contains(c.token))
      c.logit = c.logit > 0 ? c.logit / config_.repeat_penalty : c.logit * config_.repeat_penalty;
  }
}

void Sampler::truncate(std::vector<Candidate>& candidates) const {
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
  if (config_.top_k > 0) candidates.resize(std::min(candidates.size(), static_cast<size_t>(config_.top_k)));
  double sum = 0;
  for (Candidate& c : candidates) sum += c.probability = std::exp(c.logit - candidates.front().logit);
  double reached = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || reached < config_.top_p * sum) &&
         candidates[kept].probability >=
             config_.min_p) {  // the first candidate's probability is 1 before the division
    reached += candidates[kept++].probability;
  }
  candidates.resize(kept);
}

}  // namespace natrix
