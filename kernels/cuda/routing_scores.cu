// Scores, choice and weights: one warp per token. Lane l holds experts l, l + 32, …
#include "kernels/base/transfer.h"
#include "kernels/cuda/launch.h"
#include "kernels/routing.h"

namespace natrix::cuda {
namespace {

constexpr auto kTiny = static_cast<float>(kTinyScoreSum);

/// The candidate with the largest score + bias among those that are open and not yet chosen; ties go to the
/// smaller index. Returns a new one every time, even among NaNs.
template <class Open>
__device__ int next_choice(const float* score, const float* bias, int experts, const int32_t* chosen,
                           int count, int lane, Open open) {
  float best = 0;
  int which = experts;  // `experts` means none
  for (int e = lane; e < experts; e += 32) {
    bool taken = !open(e);
    for (int j = 0; j < count; ++j) taken = taken || chosen[j] == e;
    const float key = score[e] + (bias != nullptr ? bias[e] : 0.0f);
    if (taken || (which < experts && !(key > best))) continue;
    best = key;
    which = e;
  }
  for (int bits = 16; bits > 0; bits /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, bits);
    const int there = __shfl_xor_sync(kAllLanes, which, bits);
    const bool none = which == experts;
    const bool better = none || other > best || (!(other > best) && !(best > other) && there < which);
    if (there < experts && better) {
      best = other;
      which = there;
    }
  }
  return __shfl_sync(kAllLanes, which, 0);  // with NaNs the lanes may disagree
}

/// The best groups of a token: a group is worth the sum of its two largest keys, score + bias.
struct GroupChoice {
  int groups = 1, size = 0, top_groups = 1;
  float* worth = nullptr;     // [T, groups]
  int32_t* chosen = nullptr;  // [T, top_groups]

  GroupChoice(Context& ctx, const RouteForward& a)
      : groups(static_cast<int>(a.groups)),
        size(static_cast<int>(a.logits.cols() / a.groups)),
        top_groups(static_cast<int>(a.top_groups)) {
    if (groups == 1) return;
    worth = ctx.arena().take(Dtype::kF32, {a.logits.rows(), a.groups}).as<float>();
    chosen = ctx.arena().take(Dtype::kI32, {a.logits.rows(), a.top_groups}).as<int32_t>();
  }

  /// Called by a warp. A barrier of the warp must follow before open().
  __device__ void choose(int64_t t, const float* score, const float* bias, int lane) const {
    if (groups == 1) return;
    for (int g = lane; g < groups; g += 32) {
      float first = -INFINITY, second = -INFINITY;
      for (int e = g * size; e < (g + 1) * size; ++e) {
        const float key = score[e] + (bias != nullptr ? bias[e] : 0.0f);
        if (key > first) {
          second = first;
          first = key;
        } else if (key > second) {
          second = key;
        }
      }
      worth[t * groups + g] = size > 1 ? first + second : first;
    }
    __syncwarp();
    for (int j = 0; j < top_groups; ++j) {
      const int which = next_choice(worth + t * groups, nullptr, groups, chosen + t * top_groups, j, lane,
                                    [](int) { return true; });
      if (lane == 0) chosen[t * top_groups + j] = which;
      __syncwarp();
    }
  }
  __device__ bool open(int64_t t, int expert) const {
    if (groups == 1) return true;
    for (int j = 0; j < top_groups; ++j) {
      if (chosen[t * top_groups + j] == expert / size) return true;
    }
    return false;
  }
};

}  // namespace

void route_forward(Context& ctx, const RouteForward& a) {
  const Rows<float> logits(a.logits), bias(a.bias), scores(a.scores), weight(a.weight),
      logsumexp(a.logsumexp);
  const Rows<int32_t> expert(a.expert);
  const auto experts = static_cast<int>(a.logits.cols()), top_k = static_cast<int>(a.expert.cols());
  const bool softmax = a.score == RouterScore::kSoftmax, renormalize = a.renormalize;
  const auto scale = static_cast<float>(a.scale);
  Arena::Frame frame(ctx.arena());
  const GroupChoice best(ctx, a);
  for_warps(ctx, a.logits.rows(), [=] __device__(int64_t t, int lane) {
    const float* x = logits[t];
    float* score = scores[t];
    float most = x[0];
    for (int e = lane; e < experts; e += 32) most = fmaxf(most, x[e]);
    most = warp_max(most);
    float sum = 0;
    for (int e = lane; e < experts; e += 32) sum += expf(x[e] - most);
    sum = warp_sum(sum);
    if (lane == 0) logsumexp.data[t] = most + logf(sum);
    for (int e = lane; e < experts; e += 32)
      score[e] = softmax ? expf(x[e] - most) / sum : 1.0f / (1.0f + expf(-x[e]));
    __syncwarp();
    best.choose(t, score, bias.data, lane);
    for (int j = 0; j < top_k; ++j) {
      const int which =
          next_choice(score, bias.data, experts, expert[t], j, lane, [&](int e) { return best.open(t, e); });
      if (lane == 0) expert[t][j] = which;
      __syncwarp();
    }
    float divisor = 1;
    if (renormalize) {
      divisor = kTiny;
      for (int j = 0; j < top_k; ++j) divisor += score[expert[t][j]];
    }
    for (int j = lane; j < top_k; j += 32) weight[t][j] = scale * score[expert[t][j]] / divisor;
  });
}

void route_backward(Context& ctx, const RouteBackward& a) {
  const Rows<float> logits(a.logits), scores(a.scores), weight(a.weight), logsumexp(a.logsumexp),
      dweight(a.dweight), balance(a.balance), dlogits(a.dlogits);
  const Rows<int32_t> expert(a.expert);
  const auto experts = static_cast<int>(a.logits.cols()), top_k = static_cast<int>(a.expert.cols());
  const bool softmax = a.score == RouterScore::kSoftmax, renormalize = a.renormalize;
  const auto scale = static_cast<float>(a.scale), z = static_cast<float>(2 * a.z_scale);
  for_warps(ctx, a.logits.rows(), [=] __device__(int64_t t, int lane) {
    const float* score = scores[t];
    const int32_t* chosen = expert[t];
    float divisor = 1, shared = 0;  // quotient rule: each chosen score also appears in every divisor
    if (renormalize) {
      divisor = kTiny;
      for (int j = 0; j < top_k; ++j) {
        divisor += score[chosen[j]];
        shared += weight[t][j] * dweight[t][j];
      }
    }
    float all = 1, balanced = 0;  // the same for p = score / Σ score
    if (balance && !softmax) {
      float sum = 0, product = 0;
      for (int e = lane; e < experts; e += 32) {
        sum += score[e];
        product += balance[0][e] * score[e];
      }
      all = warp_sum(sum) + kTiny;
      balanced = warp_sum(product) / all;
    }
    const auto dscore = [&](int e) {
      float d = balance ? (balance[0][e] - balanced) / all : 0.0f;
      for (int j = 0; j < top_k; ++j) {
        if (chosen[j] == e) d += (scale * dweight[t][j] - shared) / divisor;
      }
      return d;
    };
    float mean = 0;  // Σ_e ds_e score_e: the softmax Jacobian is diag(s) − s sᵀ
    for (int e = lane; e < experts; e += 32) mean += dscore(e) * score[e];
    mean = warp_sum(mean);
    const float lse = logsumexp.data[t];
    for (int e = lane; e < experts; e += 32) {
      const float s = score[e], from_score = softmax ? s * (dscore(e) - mean) : s * (1 - s) * dscore(e);
      dlogits[t][e] = from_score + z * lse * expf(logits[t][e] - lse);
    }
  });
}

/// The device sums over tokens: one warp adds a part of them in order. The host adds up the parts, and counts
/// the chosen experts, which usually are on the host already.
void route_tally(Context& ctx, const RouteTally& a) {
  constexpr int64_t kPart = 64;  // tokens per part
  const int64_t tokens = a.scores.rows(), parts = (tokens + kPart - 1) / kPart;
  const auto experts = static_cast<int>(a.scores.cols());
  const bool softmax = a.score == RouterScore::kSoftmax;
  Arena::Frame frame(ctx.arena());
  const View partial = ctx.arena().take(Dtype::kF64, {parts, experts + 1});  // Σ p_te, then Σ logsumexp²
  const Rows<double> part(partial);
  const Rows<float> scores(a.scores), logsumexp(a.logsumexp);
  for_warps(ctx, parts, [=] __device__(int64_t p, int lane) {
    for (int e = lane; e <= experts; e += 32) part[p][e] = 0;
    const int64_t end = (p + 1) * kPart < tokens ? (p + 1) * kPart : tokens;
    for (int64_t t = p * kPart; t < end; ++t) {
      double all = 1;
      if (!softmax) {
        all = 0;
        for (int e = lane; e < experts; e += 32) all += static_cast<double>(scores[t][e]);
        for (int bits = 16; bits > 0; bits /= 2) all += __shfl_xor_sync(kAllLanes, all, bits);
        all += kTinyScoreSum;
      }
      for (int e = lane; e < experts; e += 32) part[p][e] += static_cast<double>(scores[t][e]) / all;
      const auto lse = static_cast<double>(logsumexp.data[t]);
      if (experts % 32 == lane) part[p][experts] += lse * lse;
    }
  });
  const OnHost expert(ctx, a.expert), sums(ctx, partial);
  for (int64_t r = 0; r < expert.view().rows(); ++r) {
    for (int64_t j = 0; j < expert.view().cols(); ++j)
      ++a.counts.as<double>()[expert.view().row<int32_t>(r)[j]];
  }
  for (int64_t p = 0; p < parts; ++p) {
    const double* s = sums.view().row<double>(p);
    for (int e = 0; e < experts; ++e) a.score_sum.as<double>()[e] += s[e];
    *a.squared_logsumexp.as<double>() += s[experts];
  }
}

}  // namespace natrix::cuda
