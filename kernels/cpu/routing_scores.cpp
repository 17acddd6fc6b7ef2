// Scores, choice and weights, and their gradient: one tile of tokens at a time, one token per lane.
//
// A row of logits may be as short as 8 numbers. So a vector holds the same expert's number of many tokens,
// and sums, maxima and the choice go over the experts without a shuffle or a branch. Lanes are independent: a
// token's bits do not depend on its neighbours, its position in the call or the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/parallel.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/routing.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/routing_scores.cpp"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

using F32 = hn::ScalableTag<float>;
using I32 = hn::RebindToSigned<F32>;
using VF = hn::Vec<F32>;

/// [E] vectors with one number per token.
class Tile {
 public:
  explicit Tile(int64_t experts)
      : experts_(experts),
        lanes_(static_cast<int64_t>(hn::Lanes(F32()))),
        data_(hwy::AllocateAligned<float>(static_cast<size_t>(experts_ * lanes_))) {
    fill(0.0f);  // lanes past the last token hold defined but meaningless numbers
  }

  void fill(float value) { std::fill_n(data_.get(), experts_ * lanes_, value); }
  VF get(int64_t e) const { return hn::Load(F32(), data_.get() + e * lanes_); }
  void set(int64_t e, VF v) { hn::Store(v, F32(), data_.get() + e * lanes_); }
  float& at(int64_t e, int64_t lane) { return data_[static_cast<size_t>(e * lanes_ + lane)]; }

  void load(View v, int64_t begin, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const float* row = v.row<float>(begin + i);
      for (int64_t e = 0; e < experts_; ++e) at(e, i) = row[e];
    }
  }
  void store(View v, int64_t begin, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      float* row = v.row<float>(begin + i);
      for (int64_t e = 0; e < experts_; ++e) row[e] = at(e, i);
    }
  }

 private:
  int64_t experts_, lanes_;
  hwy::AlignedFreeUniquePtr<float[]> data_;
};

struct LogSumExp {  // largest + log(sum); the logarithm is negligible, one per token
  VF largest, sum;
};

/// score (=) exp(logit − largest), not yet divided by the sum.
LogSumExp Exponentials(const Tile& logit, int64_t experts, Tile& score) {
  const F32 d;
  VF largest = logit.get(0);
  for (int64_t e = 1; e < experts; ++e) largest = hn::Max(largest, logit.get(e));
  VF sum = hn::Zero(d);
  for (int64_t e = 0; e < experts; ++e) {
    const VF x = Exp(d, hn::Sub(logit.get(e), largest));
    sum = hn::Add(sum, x);
    score.set(e, x);
  }
  return {largest, sum};
}

/// Lowers the keys of experts outside of the best groups to `taken`.
void LimitToGroups(int64_t experts, int64_t groups, int64_t top_groups, int64_t tokens, Tile& key) {
  const F32 d;
  const int64_t size = experts / groups;
  const VF taken = hn::Set(d, -std::numeric_limits<float>::infinity());
  const VF lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  Tile worth(groups), allowed(groups);
  for (int64_t g = 0; g < groups; ++g) {
    VF first = key.get(g * size), second = taken;
    for (int64_t e = g * size + 1; e < (g + 1) * size; ++e) {
      second = hn::Max(second, hn::Min(first, key.get(e)));
      first = hn::Max(first, key.get(e));
    }
    // A sum of lowest keys must stay above `taken`, so that top_groups different groups are chosen.
    worth.set(g, size > 1 ? hn::Max(hn::Add(first, second), lowest) : first);
  }
  for (int64_t j = 0; j < top_groups; ++j) {
    for (int64_t i = 0; i < tokens; ++i) {
      int64_t best = 0;
      for (int64_t g = 1; g < groups; ++g) best = worth.at(g, i) > worth.at(best, i) ? g : best;
      worth.at(best, i) = -std::numeric_limits<float>::infinity();
      allowed.at(best, i) = 1;
    }
  }
  for (int64_t e = 0; e < experts; ++e) {
    key.set(e, hn::IfThenElse(hn::Gt(allowed.get(e / size), hn::Zero(d)), key.get(e), taken));
  }
}

/// chosen[j] of each lane: the top_k largest of score + bias, largest first; ties go to the smaller
/// index. Overwrites `key`.
void Choose(const RouteForward& a, const Tile& score, int64_t tokens, Tile& key, int64_t begin) {
  const float* bias = a.bias.as<float>();
  const int64_t experts = a.logits.cols(), top_k = a.expert.cols();
  const F32 d;
  const I32 di;
  const VF taken = hn::Set(d, -std::numeric_limits<float>::infinity());
  const VF lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  for (int64_t e = 0; e < experts; ++e) {
    const VF k = bias == nullptr ? score.get(e) : hn::Add(score.get(e), hn::Set(d, bias[e]));
    // A NaN becomes `lowest`, which is above `taken`: the choice is always top_k different experts.
    key.set(e, hn::IfThenElse(hn::Ge(k, lowest), k, lowest));
  }
  if (a.groups > 1) LimitToGroups(experts, a.groups, a.top_groups, tokens, key);
  HWY_ALIGN int32_t chosen[HWY_MAX_BYTES / sizeof(int32_t)] = {};
  for (int64_t j = 0; j < top_k; ++j) {
    VF best = taken;
    auto index = hn::Zero(di);
    for (int64_t e = 0; e < experts; ++e) {
      const auto better = hn::Gt(key.get(e), best);
      best = hn::IfThenElse(better, key.get(e), best);
      index = hn::IfThenElse(hn::RebindMask(di, better), hn::Set(di, static_cast<int32_t>(e)), index);
    }
    hn::Store(index, di, chosen);
    for (int64_t i = 0; i < tokens; ++i) {
      a.expert.row<int32_t>(begin + i)[j] = chosen[i];
      key.at(chosen[i], i) = -std::numeric_limits<float>::infinity();
    }
  }
}

float SumOfChosen(const float* score, const int32_t* chosen, int64_t top_k) {
  float sum = static_cast<float>(kTinyScoreSum);
  for (int64_t j = 0; j < top_k; ++j) sum += score[chosen[j]];
  return sum;
}

/// The weights: k numbers per token, from the stored scores and choices.
void Weigh(const RouteForward& a, int64_t begin, int64_t end) {
  const int64_t top_k = a.expert.cols();
  for (int64_t t = begin; t < end; ++t) {
    const float* score = a.scores.row<float>(t);
    const int32_t* chosen = a.expert.row<int32_t>(t);
    const float divisor = a.renormalize ? SumOfChosen(score, chosen, top_k) : 1.0f;
    const float factor = static_cast<float>(a.scale) / divisor;
    for (int64_t j = 0; j < top_k; ++j) a.weight.row<float>(t)[j] = score[chosen[j]] * factor;
  }
}

void ForwardRange(const RouteForward& a, int64_t begin, int64_t end) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t experts = a.logits.cols();
  Tile logit(experts), score(experts), key(experts);
  HWY_ALIGN float largest[HWY_MAX_BYTES / sizeof(float)] = {};
  HWY_ALIGN float sum[HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t t = begin; t < end; t += lanes) {
    const int64_t tokens = std::min(lanes, end - t);
    logit.load(a.logits, t, tokens);
    const LogSumExp lse = Exponentials(logit, experts, score);
    const VF factor = hn::Div(hn::Set(d, 1.0f), lse.sum);
    for (int64_t e = 0; e < experts; ++e) {
      score.set(e,
                a.score == RouterScore::kSoftmax ? hn::Mul(score.get(e), factor) : Sigmoid(d, logit.get(e)));
    }
    score.store(a.scores, t, tokens);
    Choose(a, score, tokens, key, t);
    Weigh(a, t, t + tokens);

    hn::Store(lse.largest, d, largest);
    hn::Store(lse.sum, d, sum);
    for (int64_t i = 0; i < tokens; ++i) a.logsumexp.as<float>()[t + i] = largest[i] + std::log(sum[i]);
  }
}

/// ds += the gradient of Σ_j weight_j · dweight_j: k numbers per token.
void AddWeightGradient(const RouteBackward& a, int64_t begin, int64_t tokens, Tile& ds) {
  const int64_t top_k = a.expert.cols();
  const auto scale = static_cast<float>(a.scale);
  for (int64_t i = 0; i < tokens; ++i) {
    const int64_t t = begin + i;
    const float *weight = a.weight.row<float>(t), *dweight = a.dweight.row<float>(t);
    const int32_t* chosen = a.expert.row<int32_t>(t);
    float divisor = 1, shared = 0;  // quotient rule: each chosen score also appears in every divisor
    if (a.renormalize) {
      divisor = SumOfChosen(a.scores.row<float>(t), chosen, top_k);
      for (int64_t j = 0; j < top_k; ++j) shared += weight[j] * dweight[j];
    }
    for (int64_t j = 0; j < top_k; ++j) ds.at(chosen[j], i) += (scale * dweight[j] - shared) / divisor;
  }
}

/// ds += the gradient of Σ_e balance[e] · p_te.
void AddBalanceGradient(const RouteBackward& a, const Tile& score, int64_t experts, Tile& ds) {
  const F32 d;
  const float* balance = a.balance.as<float>();
  VF factor = hn::Set(d, 1.0f), shared = hn::Zero(d);
  if (a.score == RouterScore::kSigmoid) {  // p = score / Σ score: the quotient rule again
    VF sum = hn::Set(d, static_cast<float>(kTinyScoreSum));
    for (int64_t e = 0; e < experts; ++e) {
      sum = hn::Add(sum, score.get(e));
      shared = hn::MulAdd(hn::Set(d, balance[e]), score.get(e), shared);
    }
    factor = hn::Div(factor, sum);
    shared = hn::Mul(shared, factor);
  }
  for (int64_t e = 0; e < experts; ++e) {
    ds.set(e, hn::MulAdd(hn::Sub(hn::Set(d, balance[e]), shared), factor, ds.get(e)));
  }
}

/// Softmax: the Jacobian is diag(s) − s sᵀ, and the z-loss's softmax(logits) is s itself.
void ThroughSoftmax(const Tile& score, VF z, int64_t experts, Tile& ds) {
  VF mean = hn::Zero(F32());
  for (int64_t e = 0; e < experts; ++e) mean = hn::MulAdd(ds.get(e), score.get(e), mean);
  for (int64_t e = 0; e < experts; ++e) {
    ds.set(e, hn::Mul(score.get(e), hn::Add(hn::Sub(ds.get(e), mean), z)));
  }
}

/// Sigmoid: the derivative is s (1 − s). The z-loss needs its own exponentials.
void ThroughSigmoid(const Tile& score, const Tile& logit, VF logsumexp, VF z, int64_t experts, Tile& ds) {
  const F32 d;
  for (int64_t e = 0; e < experts; ++e) {
    const VF s = score.get(e);
    const VF from_score = hn::Mul(hn::Mul(s, hn::Sub(hn::Set(d, 1.0f), s)), ds.get(e));
    ds.set(e, hn::MulAdd(z, Exp(d, hn::Sub(logit.get(e), logsumexp)), from_score));
  }
}

void BackwardRange(const RouteBackward& a, int64_t begin, int64_t end) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t experts = a.logits.cols();
  Tile score(experts), logit(experts), ds(experts);
  for (int64_t t = begin; t < end; t += lanes) {
    const int64_t tokens = std::min(lanes, end - t);
    score.load(a.scores, t, tokens);
    ds.fill(0.0f);
    AddWeightGradient(a, t, tokens, ds);
    if (a.balance) AddBalanceGradient(a, score, experts, ds);

    const VF logsumexp = LoadSome(d, a.logsumexp.as<float>() + t, tokens);
    const VF z = hn::Mul(hn::Set(d, static_cast<float>(2 * a.z_scale)), logsumexp);
    if (a.score == RouterScore::kSoftmax) {
      ThroughSoftmax(score, z, experts, ds);
    } else {
      logit.load(a.logits, t, tokens);
      ThroughSigmoid(score, logit, logsumexp, z, experts, ds);
    }
    ds.store(a.dlogits, t, tokens);
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(ForwardRange);
HWY_EXPORT(BackwardRange);

/// Tokens per block: 16 K scores take about ten microseconds, well above the cost of handing out a block.
int64_t grain_of(int64_t experts) {
  return std::max<int64_t>(64, 16384 / experts);
}

}  // namespace

void route_forward(Context& ctx, const RouteForward& a) {
  parallel_for(ctx, a.logits.rows(), grain_of(a.logits.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ForwardRange)(a, begin, end);
  });
}

void route_backward(Context& ctx, const RouteBackward& a) {
  parallel_for(ctx, a.logits.rows(), grain_of(a.logits.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(BackwardRange)(a, begin, end);
  });
}

}  // namespace natrix::cpu
#endif
