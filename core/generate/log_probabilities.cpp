#include "core/generate/log_probabilities.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace natrix {

LogProbabilities log_probabilities(std::span<const float> logits, int64_t chosen, int64_t count) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - largest);
  const double log_sum = largest + std::log(sum);
  const auto of = [&](int64_t token) {
    return TokenLogProbability{token, static_cast<double>(logits[static_cast<size_t>(token)]) - log_sum};
  };
  const auto more_likely = [&](int64_t a, int64_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::vector<int64_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), int64_t{0});
  const auto kept = std::min(static_cast<std::ptrdiff_t>(count), std::ssize(tokens));
  std::partial_sort(tokens.begin(), tokens.begin() + kept, tokens.end(), more_likely);
  tokens.resize(static_cast<size_t>(kept));
  LogProbabilities result{.chosen = of(chosen), .top = {}};
  for (const int64_t token : tokens) {
    if (std::isfinite(logits[static_cast<size_t>(token)])) result.top.push_back(of(token));
  }
  return result;
}

}  // namespace natrix
