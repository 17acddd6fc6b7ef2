// Softmax cross-entropy, one task per row. A row is read twice: for its largest logit, and for Σ exp. The
// exponentials are stored where the gradient goes and are only scaled afterwards.
#include "kernels/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/loss.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

float Largest(const float* x, int64_t count) {
  const F32 d;
  auto largest = hn::Set(d, x[0]);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) largest = hn::Max(largest, hn::LoadU(d, x + i));
  float most = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < count; ++i) most = std::max(most, x[i]);
  return most;
}

/// Σ exp(x − largest). Stores the exponentials in e if it is given; e may alias x.
double SumOfExponentials(const float* x, int64_t count, float largest, float* e) {
  constexpr int64_t kPiece = 1024;  // terms added in f32; the pieces are added in double
  const F32 d;
  const auto offset = hn::Set(d, largest);
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    auto sum = hn::Zero(d);
    ForLanes(std::min(kPiece, count - begin), [&](int64_t i, int64_t n) HWY_ATTR {
      auto term = Exp(d, hn::Sub(Get(x + begin + i, n), offset));
      if (e != nullptr) Put(term, e + begin + i, n);
      if (n < static_cast<int64_t>(hn::Lanes(d)))
        term = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(n)), term);
      sum = hn::Add(sum, term);
    });
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
  }
  return total;
}

void Scale(float* x, int64_t count, float factor) {
  const auto f = hn::Set(F32(), factor);
  ForLanes(count, [&](int64_t i, int64_t n) HWY_ATTR { Put(hn::Mul(Get(x + i, n), f), x + i, n); });
}

void CrossEntropyRows(const CrossEntropy& a, int64_t begin, int64_t end) {
  const int64_t V = a.logits.cols();
  for (int64_t r = begin; r < end; ++r) {
    const int64_t target = a.targets.as<int64_t>()[r];
    const float* logits = a.logits.row<float>(r);
    float* dlogits = a.dlogits ? a.dlogits.row<float>(r) : nullptr;
    double& loss = a.loss.as<double>()[r];
    if (target == kIgnoreTarget) {
      loss = 0;
      if (dlogits != nullptr) std::fill_n(dlogits, V, 0.0f);
      continue;
    }
    const auto wanted = static_cast<double>(logits[target]);  // read now: dlogits may overwrite it
    const float largest = Largest(logits, V);
    const double sum = SumOfExponentials(logits, V, largest, dlogits);
    loss = static_cast<double>(largest) + std::log(sum) - wanted;
    if (dlogits != nullptr) {
      Scale(dlogits, V, static_cast<float>(a.scale / sum));
      dlogits[target] = static_cast<float>(a.scale * std::expm1(-loss));  // p − 1 without cancellation
    }
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {
HWY_EXPORT(CrossEntropyRows);
}

void cross_entropy(Context& ctx, const CrossEntropy& args) {
  require_f32(args.logits, "cross_entropy: the CPU backend computes in f32 only");
  parallel_for(ctx, args.logits.rows(), rows_a_block(args.logits.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(CrossEntropyRows)(args, begin, end);
  });
}

}  // namespace natrix::cpu
#endif
