// The short convolution forward, row by row. K rows of a panel and its weights stay in L1. Each input is read
// from memory once and each output is written once.
#include "kernels/conv.h"

#include <algorithm>

#include "kernels/base/parallel.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/conv.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/conv-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

template <int64_t kTaps>
HWY_INLINE void ForwardTokens(const ConvSiluForward& a, const ConvPlan& plan, const ConvTask& task,
                              const TapWeights& weight, const float* bias) {
  const ConvInputs inputs(a.x, a.tail_in, a.doc_start, plan, task);
  std::vector<const float*> rows;
  for (int64_t t = task.begin; t < task.end; ++t) {
    inputs.under_taps(t, rows);
    float* y = a.y.row<float>(task.sequence * plan.tokens + t) + task.first;
    ForVectors(task.count, [&](auto whole, int64_t i, int64_t count) HWY_ATTR {
      const auto c = AddTaps<kTaps>(whole, LoadLanes(whole, bias + i, count), rows.data(), weight, i, count);
      StoreLanes(whole, Silu(Floats(), c), y + i, count);
    });
  }
}

void ConvForwardBlock(const ConvSiluForward& a, const ConvPlan& plan, const ConvTask& task, View weight) {
  const TapWeights taps{weight.as<float>() + task.first, weight.row_stride, plan.taps};
  const float* bias = a.bias ? a.bias.as<float>() + task.first : ConvInputs::zeros();
  switch (plan.taps) {
    case 2: return ForwardTokens<2>(a, plan, task, taps, bias);
    case 3: return ForwardTokens<3>(a, plan, task, taps, bias);
    case 4: return ForwardTokens<4>(a, plan, task, taps, bias);
    default: return ForwardTokens<0>(a, plan, task, taps, bias);
  }
}

void TransposeTaps(const float* weight, int64_t channels, int64_t taps, float* to) {
  Transpose(weight, taps, channels, taps, to, channels);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

/// tail_out = the last K−1 rows of [tail_in; x].
void copy_tail(const ConvSiluForward& a, const ConvPlan& plan) {
  for (int64_t b = 0; b < plan.batch; ++b) {
    for (int64_t r = 0; r < plan.tail(); ++r) {
      const int64_t s = plan.tokens - plan.tail() + r;
      float* to = a.tail_out.row<float>(b * plan.tail() + r);
      if (s >= 0) {
        std::copy_n(a.x.row<float>(b * plan.tokens + s), plan.channels, to);
      } else if (a.tail_in) {
        std::copy_n(a.tail_in.row<float>(b * plan.tail() + plan.tail() + s), plan.channels, to);
      } else {
        std::fill_n(to, plan.channels, 0.0f);
      }
    }
  }
}

}  // namespace

HWY_EXPORT(ConvForwardBlock);
HWY_EXPORT(TransposeTaps);

View transposed_weight(Context& ctx, View weight) {
  const int64_t channels = weight.extent(0), taps = weight.extent(1);
  const View w = ctx.arena().take(Dtype::kF32, {taps, channels});
  HWY_DYNAMIC_DISPATCH(TransposeTaps)(weight.as<float>(), channels, taps, w.as<float>());
  return w;
}

void conv_silu_forward(Context& ctx, const ConvSiluForward& args) {
  Arena::Frame frame(ctx.arena());
  const ConvPlan plan(args.x, args.weight);
  const View weight = transposed_weight(ctx, args.weight);
  parallel_for(ctx, plan.tasks(), plan.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      HWY_DYNAMIC_DISPATCH(ConvForwardBlock)(args, plan, plan.task(i), weight);
  });
  if (args.tail_out) copy_tail(args, plan);
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
