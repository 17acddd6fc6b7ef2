// RMS normalisation on vectors. A row stays in the L1 cache between its two passes.
#include "kernels/norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

/// sum (=) x + residual. sum may alias x or residual.
void AddRows(const float* x, const float* residual, int64_t count, float* sum) {
  ForLanes(count, [&](int64_t i, int64_t n)
                      HWY_ATTR { Put(hn::Add(Get(x + i, n), Get(residual + i, n)), sum + i, n); });
}

double SumOfSquares(const float* s, int64_t count) {
  const F32 d;
  auto squares = hn::Zero(d);
  ForLanes(count, [&](int64_t i, int64_t n) HWY_ATTR {
    const auto s_i = Get(s + i, n);
    squares = hn::MulAdd(s_i, s_i, squares);
  });
  return static_cast<double>(hn::GetLane(hn::SumOfLanes(d, squares)));
}

void ForwardRows(const RmsNormForward& a, int64_t begin, int64_t end) {
  const F32 d;
  const int64_t D = a.x.cols();
  const float* weight = a.weight.as<float>();
  for (int64_t r = begin; r < end; ++r) {
    const float* s = a.x.row<float>(r);
    if (a.residual) {
      AddRows(s, a.residual.row<float>(r), D, a.sum.row<float>(r));
      s = a.sum.row<float>(r);
    } else if (a.sum && a.sum.row<float>(r) != s) {
      std::copy_n(s, D, a.sum.row<float>(r));
    }
    const double mean = SumOfSquares(s, D) / static_cast<double>(D);
    const auto inv_rms = static_cast<float>(1 / std::sqrt(mean + a.eps));
    float* y = a.y.row<float>(r);
    ForLanes(D, [&](int64_t i, int64_t n) HWY_ATTR {
      const auto normed = hn::Mul(Get(s + i, n), hn::Set(d, inv_rms));
      Put(weight != nullptr ? hn::Mul(normed, Get(weight + i, n)) : normed, y + i, n);
    });
    if (a.inv_rms) a.inv_rms.as<float>()[r] = inv_rms;
  }
}

/// One row of the backward pass. Both passes recompute ŝ and dy ⊙ weight, which is cheaper than storing them.
struct BackwardRow {
  const float *s, *dy, *weight;
  float inv_rms;

  HWY_INLINE Floats32 normed(int64_t i, int64_t n) const {
    return hn::Mul(Get(s + i, n), hn::Set(F32(), inv_rms));
  }
  HWY_INLINE Floats32 dnormed(int64_t i, int64_t n) const {
    const auto g = Get(dy + i, n);
    return weight != nullptr ? hn::Mul(g, Get(weight + i, n)) : g;
  }
};

/// dweight (+=) is the partial sum of this block; null if not wanted.
void BackwardRows(const RmsNormBackward& a, int64_t begin, int64_t end, float* dweight) {
  const F32 d;
  const int64_t D = a.sum.cols();
  for (int64_t r = begin; r < end; ++r) {
    const BackwardRow row{a.sum.row<float>(r), a.dy.row<float>(r), a.weight.as<float>(),
                          a.inv_rms.as<float>()[r]};
    auto dot = hn::Zero(d);  // Σ dy ⊙ weight ⊙ ŝ
    ForLanes(D, [&](int64_t i, int64_t n) HWY_ATTR {
      const auto normed = row.normed(i, n);
      if (dweight != nullptr)
        Put(hn::MulAdd(Get(row.dy + i, n), normed, Get(dweight + i, n)), dweight + i, n);
      dot = hn::MulAdd(row.dnormed(i, n), normed, dot);
    });
    const auto mean = hn::Set(d, hn::GetLane(hn::SumOfLanes(d, dot)) / static_cast<float>(D));
    const float* dsum = a.dsum ? a.dsum.row<float>(r) : nullptr;
    float* dx = a.dx.row<float>(r);
    ForLanes(D, [&](int64_t i, int64_t n) HWY_ATTR {
      const auto centred = hn::NegMulAdd(row.normed(i, n), mean, row.dnormed(i, n));
      const auto ds = hn::Mul(hn::Set(d, row.inv_rms), centred);
      Put(dsum != nullptr ? hn::Add(Get(dsum + i, n), ds) : ds, dx + i, n);
    });
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(ForwardRows);
HWY_EXPORT(BackwardRows);

constexpr int64_t kMostPartials = 64;  // partial dweight rows of D numbers, which one thread adds up

}  // namespace

void rms_norm_forward(Context& ctx, const RmsNormForward& args) {
  require_f32(args.x, "rms_norm_forward: the CPU backend computes in f32 only");
  parallel_for(ctx, args.x.rows(), rows_a_block(args.x.cols()), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(ForwardRows)(args, begin, end);
  });
}

void rms_norm_backward(Context& ctx, const RmsNormBackward& args) {
  require_f32(args.sum, "rms_norm_backward: the CPU backend computes in f32 only");
  const int64_t rows = args.sum.rows(), cols = args.sum.cols();
  const int64_t grain = std::max(rows_a_block(cols), (rows + kMostPartials - 1) / kMostPartials);
  Arena::Frame frame(ctx.arena());
  View partial = args.dweight ? ctx.arena().zeros(Dtype::kF32, {(rows + grain - 1) / grain, cols}) : View{};
  parallel_for(ctx, rows, grain, [&](int64_t begin, int64_t end) {
    float* dweight = partial ? partial.row<float>(begin / grain) : nullptr;
    HWY_DYNAMIC_DISPATCH(BackwardRows)(args, begin, end, dweight);
  });
  for (int64_t b = 0; partial && b < partial.rows(); ++b) {
    for (int64_t c = 0; c < cols; ++c) args.dweight.as<float>()[c] += partial.row<float>(b)[c];
  }
}

}  // namespace natrix::cpu
#endif
