#include "core/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

namespace natrix {
namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

/// Orders by larger logit, then by smaller index. No two candidates are equal, so every sorting algorithm
/// gives the same order.
bool comes_first(double a, int64_t token_a, double b, int64_t token_b) {
  return a > b || (a == b && token_a < token_b);
}

}  // namespace

bool has_choice(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  bool is_number = true;
  for (const float x : logits) {
    largest = std::max(largest, x);
    is_number = is_number && x == x;
  }
  return is_number && std::isfinite(largest);
}

Sampler::Sampler(const SamplerConfig& config) : config_(config), random_(config.seed) {
  std::ranges::stable_sort(config_.logit_bias, {}, &LogitBias::token);
}

void Sampler::accept(int64_t token) {
  recent_.push_back(token);
  if (static_cast<int64_t>(recent_.size()) > config_.repeat_last_n) recent_.pop_front();
}

int64_t Sampler::sample(std::span<const float> logits) {
  collect(logits);
  if (config_.temperature <= 0) {
    const auto best = std::ranges::max_element(candidates_, {}, &Candidate::logit);  // the first if equal
    return best->token;
  }
  truncate();
  return draw();
}

void Sampler::collect(std::span<const float> logits) {
  std::unordered_set<int64_t> seen;
  if (config_.repeat_penalty != 1.0) seen.insert(recent_.begin(), recent_.end());
  candidates_.clear();
  bool finite = true, banned = false;
  auto bias = config_.logit_bias.begin();
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto token = static_cast<int64_t>(i);
    auto logit = static_cast<double>(logits[i]);
    if (logit == kMasked) continue;
    while (bias != config_.logit_bias.end() && bias->token < token) ++bias;
    const double own = logit;
    for (; bias != config_.logit_bias.end() && bias->token == token; ++bias) logit += bias->bias;
    if (logit == kMasked && std::isfinite(own)) {
      banned = true;
      continue;
    }
    if (!seen.empty() && seen.contains(token))
      logit = logit > 0 ? logit / config_.repeat_penalty : logit * config_.repeat_penalty;
    finite = finite && std::isfinite(logit);
    candidates_.push_back({token, logit, 0});
  }
  if (finite && candidates_.empty() && banned)
    throw InputError("the logit biases ban every token; leave at least one to choose");
  if (!finite || candidates_.empty()) throw NonfiniteLogits("the logits are not finite");
}

void Sampler::truncate() {
  const auto order = [](const Candidate& a, const Candidate& b) {
    return comes_first(a.logit, a.token, b.logit, b.token);
  };
  const auto k = static_cast<size_t>(std::max<int64_t>(config_.top_k, 0));
  if (k > 0 && k < candidates_.size()) {
    std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(k - 1),
                     candidates_.end(), order);
    candidates_.resize(k);
  }
  std::sort(candidates_.begin(), candidates_.end(), order);
  double sum = 0;
  for (Candidate& c : candidates_) sum += c.probability = std::exp(c.logit - candidates_.front().logit);
  // The first candidate's is 1, so it stays for any top_p and min_p.
  double reached = candidates_.front().probability;
  size_t kept = 1;
  while (kept < candidates_.size() && reached < config_.top_p * sum &&
         candidates_[kept].probability >= config_.min_p) {
    reached += candidates_[kept++].probability;
  }
  candidates_.resize(kept);
}

int64_t Sampler::draw() {
  double sum = 0;
  const double top = candidates_.front().logit;
  for (Candidate& c : candidates_) sum += c.probability = std::exp((c.logit - top) / config_.temperature);
  double left = random_.uniform() * sum;
  for (const Candidate& c : candidates_) {
    left -= c.probability;
    if (left < 0) return c.token;
  }
  return candidates_.back().token;
}

}  // namespace natrix
