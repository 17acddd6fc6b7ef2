// The short convolution backward. Gradients: docs/math/conv.md.
//
// A time block first recomputes c and computes dc = dy ⊙ silu'(c) for its own tokens and the K−1 tokens after
// them. Then it computes dx_s from dc of the tokens s … s + K−1. dweight and dbias include the block's own
// tokens only, as partial sums that are added in order of the blocks.
#include <algorithm>

#include "kernels/base/parallel.h"
#include "kernels/conv.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/conv_backward.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/conv-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// The weights of a task.
struct ConvWeights {
  TapWeights in_order, reversed;  // reversed: the last tap first
  const float* bias;
};

/// dc of token t. rows[k] is the input under tap k.
template <int64_t kTaps>
HWY_INLINE void SumGradient(const float* const* rows, const ConvWeights& w, const float* dy, int64_t channels,
                            float* HWY_RESTRICT dc) {
  ForVectors(channels, [&](auto whole, int64_t i, int64_t count) HWY_ATTR {
    const auto c = AddTaps<kTaps>(whole, LoadLanes(whole, w.bias + i, count), rows, w.in_order, i, count);
    const auto dsilu = SiluDerivative(Floats(), c);
    StoreLanes(whole, hn::Mul(LoadLanes(whole, dy + i, count), dsilu), dc + i, count);
  });
}

/// dweight[k] += dc ⊙ rows[k] for every tap; dbias, the row after the last tap, += dc.
template <int64_t kTaps>
HWY_INLINE void AddParameterGradients(const float* const* rows, int64_t taps, const float* HWY_RESTRICT dc,
                                      int64_t channels, float* HWY_RESTRICT sums) {
  ForVectors(channels, [&](auto whole, int64_t i, int64_t count) HWY_ATTR {
    const auto g = LoadLanes(whole, dc + i, count);
    float* sum = sums + i;
    for (int64_t k = 0; k < (kTaps != 0 ? kTaps : taps); ++k, sum += kConvChannels) {
      const auto before = LoadLanes(whole, sum, count);
      StoreLanes(whole, hn::MulAdd(g, LoadLanes(whole, rows[k] + i, count), before), sum, count);
    }
    StoreLanes(whole, hn::Add(g, LoadLanes(whole, sum, count)), sum, count);
  });
}

/// dx of one input: the gradient from the next segment (or zeros), plus the part of each
/// token that read the input.
template <int64_t kTaps>
HWY_INLINE void InputGradient(const float* arrived, const float* const* dc_rows, const ConvWeights& w,
                              int64_t channels, float* HWY_RESTRICT dx) {
  ForVectors(channels, [&](auto whole, int64_t i, int64_t count) HWY_ATTR {
    const auto from = LoadLanes(whole, arrived + i, count);
    StoreLanes(whole, AddTaps<kTaps>(whole, from, dc_rows, w.reversed, i, count), dx + i, count);
  });
}

template <int64_t kTaps>
HWY_INLINE void BackwardTokens(const ConvSiluBackward& a, const ConvPlan& plan, const ConvTask& task,
                               const ConvWeights& w, float* parameter_sums) {
  const ConvInputs inputs(a.x, a.tail_in, a.doc_start, plan, task);
  const int64_t tail = plan.tail(), first_token = task.sequence * plan.tokens,
                first_tail = task.sequence * tail;
  std::vector<float> ring(static_cast<size_t>(plan.taps * kConvChannels));  // dc of the last K tokens
  const auto dc_row = [&](int64_t t) { return ring.data() + t % plan.taps * kConvChannels; };
  std::vector<const float*> rows, dc_rows(static_cast<size_t>(plan.taps));

  const int64_t first_input = task.begin == 0 ? -tail : task.begin;
  for (int64_t t = task.begin; t < task.end + tail; ++t) {
    if (t < plan.tokens) {
      inputs.under_taps(t, rows);
      const float* dy = a.dy.row<float>(first_token + t) + task.first;
      SumGradient<kTaps>(rows.data(), w, dy, task.count, dc_row(t));
      if (t < task.end)
        AddParameterGradients<kTaps>(rows.data(), plan.taps, dc_row(t), task.count, parameter_sums);
    }
    const int64_t s = t - tail;  // the input that no later token reads
    if (s < first_input || (s < 0 && !a.dtail_in)) continue;
    const int64_t last = inputs.last_to_see(s);
    for (int64_t k = 0; k < plan.taps; ++k) {
      const bool seen = s + k >= 0 && s + k <= last;
      dc_rows[static_cast<size_t>(k)] = seen ? dc_row(s + k) : ConvInputs::zeros();
    }
    const int64_t r = s - (plan.tokens - tail);  // its row in the tail that the next segment received
    const float* arrived =
        a.dtail_out && r >= 0 ? a.dtail_out.row<float>(first_tail + r) + task.first : ConvInputs::zeros();
    float* dx = s >= 0 ? a.dx.row<float>(first_token + s) : a.dtail_in.row<float>(first_tail + tail + s);
    InputGradient<kTaps>(arrived, dc_rows.data(), w, task.count, dx + task.first);
  }
}

void ConvBackwardBlock(const ConvSiluBackward& a, const ConvPlan& plan, const ConvTask& task, View weight,
                       View reversed, float* parameter_sums) {
  const ConvWeights w{.in_order = {weight.as<float>() + task.first, weight.row_stride, plan.taps},
                      .reversed = {reversed.as<float>() + task.first, reversed.row_stride, plan.taps},
                      .bias = a.bias ? a.bias.as<float>() + task.first : ConvInputs::zeros()};
  switch (plan.taps) {
    case 2: return BackwardTokens<2>(a, plan, task, w, parameter_sums);
    case 3: return BackwardTokens<3>(a, plan, task, w, parameter_sums);
    case 4: return BackwardTokens<4>(a, plan, task, w, parameter_sums);
    default: return BackwardTokens<0>(a, plan, task, w, parameter_sums);
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

/// The taps in reverse order: dx_s = Σ_k weight[K − 1 − k] dc_{s+k}.
View reversed_taps(Context& ctx, View weight) {
  const View reversed = ctx.arena().like(weight);
  for (int64_t k = 0; k < weight.rows(); ++k) {
    std::copy_n(weight.row<float>(weight.rows() - 1 - k), weight.cols(), reversed.row<float>(k));
  }
  return reversed;
}

/// dweight, dbias += the tasks' sums [tasks, (K + 1) · kConvChannels], added in order of sequence and time.
void add_parameter_sums(Context& ctx, const ConvPlan& plan, View sums, View dweight, View dbias) {
  parallel_for(ctx, plan.panels(), 1, [&](int64_t panel, int64_t) {
    float* total = sums.row<float>(panel);
    for (int64_t i = panel + plan.panels(); i < plan.tasks(); i += plan.panels()) {
      const float* of_task = sums.row<float>(i);
      for (int64_t k = 0; k < sums.cols(); ++k) total[k] += of_task[k];
    }
    const ConvTask of_panel = plan.task(panel);
    for (int64_t i = 0; i < of_panel.count; ++i) {
      float* dw = dweight.row<float>(of_panel.first + i);
      for (int64_t k = 0; k < plan.taps; ++k) dw[k] += total[k * kConvChannels + i];
      if (dbias) dbias.as<float>()[of_panel.first + i] += total[plan.taps * kConvChannels + i];
    }
  });
}

}  // namespace

HWY_EXPORT(ConvBackwardBlock);

void conv_silu_backward(Context& ctx, const ConvSiluBackward& args) {
  Arena::Frame frame(ctx.arena());
  const ConvPlan plan(args.x, args.weight);
  const View weight = transposed_weight(ctx, args.weight), reversed = reversed_taps(ctx, weight);
  const View sums = ctx.arena().zeros(Dtype::kF32, {plan.tasks(), (plan.taps + 1) * kConvChannels});
  parallel_for(ctx, plan.tasks(), plan.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      HWY_DYNAMIC_DISPATCH(ConvBackwardBlock)(args, plan, plan.task(i), weight, reversed, sums.row<float>(i));
    }
  });
  add_parameter_sums(ctx, plan, sums, args.dweight, args.dbias);
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
