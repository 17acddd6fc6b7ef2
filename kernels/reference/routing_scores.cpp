// Scores, choice and weights, token by token, and their gradient: the formulas of docs/math/routing.md, in
// double. Scores and weights are rounded to their stored dtype first. The choice uses the stored scores, so
// it can be repeated from them alone.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/routing.h"

namespace natrix::reference {
namespace {

template <class T>
double log_sum_exp(const T* logit, int64_t experts) {
  const double largest = *std::max_element(logit, logit + experts);
  double sum = 0;
  for (int64_t e = 0; e < experts; ++e) sum += std::exp(logit[e] - largest);
  return largest + std::log(sum);
}

/// Whether each expert belongs to one of the best groups.
template <class Key>
std::vector<bool> allowed_experts(const Key& key, int64_t experts, int64_t groups, int64_t top_groups) {
  const int64_t size = experts / groups;
  std::vector<bool> allowed(static_cast<size_t>(experts), groups == 1);
  if (groups == 1) return allowed;
  std::vector<double> worth;
  for (int64_t g = 0; g < groups; ++g) {
    std::vector<double> keys;
    for (int64_t e = g * size; e < (g + 1) * size; ++e) keys.push_back(std::isnan(key(e)) ? -1e300 : key(e));
    std::sort(keys.rbegin(), keys.rend());
    worth.push_back(size > 1 ? keys[0] + keys[1] : keys[0]);
  }
  std::vector<bool> taken(static_cast<size_t>(groups));
  for (int64_t j = 0; j < top_groups; ++j) {
    size_t best = taken.size();
    for (size_t g = 0; g < taken.size(); ++g) {
      if (!taken[g] && (best == taken.size() || worth[g] > worth[best])) best = g;
    }
    taken[best] = true;
  }
  for (int64_t e = 0; e < experts; ++e)
    allowed[static_cast<size_t>(e)] = taken[static_cast<size_t>(e / size)];
  return allowed;
}

/// The top_k largest of score + bias, largest first; ties go to the smaller index. Always chooses top_k
/// different experts, even among NaNs: a diverged run must end with its own message, not with a wild index.
template <class T>
void choose(const RouteForward& a, const T* score, int32_t* chosen) {
  const T* bias = a.bias.as<T>();
  const int64_t experts = a.logits.cols(), top_k = a.expert.cols();
  const auto key = [&](int64_t e) { return bias != nullptr ? score[e] + bias[e] : score[e]; };
  const std::vector<bool> allowed = allowed_experts(key, experts, a.groups, a.top_groups);
  for (int64_t j = 0; j < top_k; ++j) {
    int64_t best = -1;
    for (int64_t e = 0; e < experts; ++e) {
      const bool taken = !allowed[static_cast<size_t>(e)] || std::find(chosen, chosen + j, e) != chosen + j;
      if (!taken && (best < 0 || key(e) > key(best))) best = e;
    }
    chosen[j] = static_cast<int32_t>(best);
  }
}

template <class T>
double sum_of_chosen(const T* score, const int32_t* chosen, int64_t top_k) {
  double sum = kTinyScoreSum;
  for (int64_t j = 0; j < top_k; ++j) sum += score[chosen[j]];
  return sum;
}

template <class T>
double sum_of_all(const T* score, int64_t experts) {
  double sum = kTinyScoreSum;
  for (int64_t e = 0; e < experts; ++e) sum += score[e];
  return sum;
}

template <class T>
void forward(const RouteForward& a) {
  const int64_t experts = a.logits.cols(), top_k = a.expert.cols();
  for (int64_t t = 0; t < a.logits.rows(); ++t) {
    const T* logit = a.logits.row<T>(t);
    T* score = a.scores.row<T>(t);
    int32_t* chosen = a.expert.row<int32_t>(t);
    T* weight = a.weight.row<T>(t);

    const double logsumexp = log_sum_exp(logit, experts);
    a.logsumexp.as<T>()[t] = static_cast<T>(logsumexp);
    for (int64_t e = 0; e < experts; ++e) {
      const double x = logit[e];
      const double s = a.score == RouterScore::kSoftmax ? std::exp(x - logsumexp) : 1 / (1 + std::exp(-x));
      score[e] = static_cast<T>(s);
    }
    choose(a, score, chosen);
    const double divisor = a.renormalize ? sum_of_chosen(score, chosen, top_k) : 1.0;
    for (int64_t j = 0; j < top_k; ++j) weight[j] = static_cast<T>(a.scale * score[chosen[j]] / divisor);
  }
}

/// ds += the gradient of Σ_j weight_j · dweight_j. The choice is piecewise constant and has no gradient.
template <class T>
void add_weight_gradient(const RouteBackward& a, int64_t t, std::vector<double>& ds) {
  const T *score = a.scores.row<T>(t), *weight = a.weight.row<T>(t), *dweight = a.dweight.row<T>(t);
  const int32_t* chosen = a.expert.row<int32_t>(t);
  const int64_t top_k = a.expert.cols();
  double divisor = 1, shared = 0;  // quotient rule: each chosen score also appears in every divisor
  if (a.renormalize) {
    divisor = sum_of_chosen(score, chosen, top_k);
    for (int64_t j = 0; j < top_k; ++j) shared += static_cast<double>(weight[j]) * dweight[j];
  }
  for (int64_t j = 0; j < top_k; ++j)
    ds[static_cast<size_t>(chosen[j])] += (a.scale * dweight[j] - shared) / divisor;
}

/// ds += the gradient of Σ_e balance[e] · p_te.
template <class T>
void add_balance_gradient(const RouteBackward& a, int64_t t, std::vector<double>& ds) {
  const T *score = a.scores.row<T>(t), *balance = a.balance.as<T>();
  const int64_t experts = a.logits.cols();
  double divisor = 1, shared = 0;
  if (a.score == RouterScore::kSigmoid) {  // p = score / Σ score: the quotient rule again
    divisor = sum_of_all(score, experts);
    for (int64_t e = 0; e < experts; ++e) shared += static_cast<double>(balance[e]) * score[e] / divisor;
  }
  for (int64_t e = 0; e < experts; ++e) ds[static_cast<size_t>(e)] += (balance[e] - shared) / divisor;
}

template <class T>
void backward(const RouteBackward& a) {
  const int64_t experts = a.logits.cols();
  std::vector<double> ds(static_cast<size_t>(experts));
  for (int64_t t = 0; t < a.logits.rows(); ++t) {
    const T *logit = a.logits.row<T>(t), *score = a.scores.row<T>(t);
    const double logsumexp = a.logsumexp.as<T>()[t];

    std::fill(ds.begin(), ds.end(), 0.0);
    add_weight_gradient<T>(a, t, ds);
    if (a.balance) add_balance_gradient<T>(a, t, ds);

    double mean = 0;  // Σ_e ds_e score_e: the softmax Jacobian is diag(s) − s sᵀ
    for (int64_t e = 0; e < experts; ++e) mean += ds[static_cast<size_t>(e)] * score[e];
    for (int64_t e = 0; e < experts; ++e) {
      const double s = score[e], d = ds[static_cast<size_t>(e)];
      const double from_score = a.score == RouterScore::kSoftmax ? s * (d - mean) : s * (1 - s) * d;
      const double from_z = 2 * a.z_scale * logsumexp * std::exp(logit[e] - logsumexp);
      a.dlogits.row<T>(t)[e] = static_cast<T>(from_score + from_z);
    }
  }
}

/// Adds token by token, so that a sequence tallied in segments gives the same bits as one tallied whole.
template <class T>
void tally(const RouteTally& a) {
  const int64_t experts = a.scores.cols();
  double *counts = a.counts.as<double>(), *score_sum = a.score_sum.as<double>();
  for (int64_t t = 0; t < a.scores.rows(); ++t) {
    const T* score = a.scores.row<T>(t);
    const int32_t* chosen = a.expert.row<int32_t>(t);
    for (int64_t j = 0; j < a.expert.cols(); ++j) counts[chosen[j]] += 1;

    const double share = a.score == RouterScore::kSigmoid ? 1 / sum_of_all(score, experts) : 1.0;
    for (int64_t e = 0; e < experts; ++e) score_sum[e] += score[e] * share;

    const double logsumexp = a.logsumexp.as<T>()[t];
    *a.squared_logsumexp.as<double>() += logsumexp * logsumexp;
  }
}

}  // namespace

void route_forward(Context&, const RouteForward& a) {
  for_float(a.logits.dtype, [&](auto zero) { forward<decltype(zero)>(a); });
}

void route_backward(Context&, const RouteBackward& a) {
  for_float(a.logits.dtype, [&](auto zero) { backward<decltype(zero)>(a); });
}

void route_tally(Context&, const RouteTally& a) {
  for_float(a.scores.dtype, [&](auto zero) { tally<decltype(zero)>(a); });
}

}  // namespace natrix::reference
