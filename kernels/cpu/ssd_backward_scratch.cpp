#include "kernels/cpu/ssd_backward_scratch.h"

#include <algorithm>
#include <cmath>

namespace natrix::cpu {

SsdBackwardScratch::SsdBackwardScratch(Context& ctx, const SsdPlan& plan) : plan_(plan) {
  const int64_t heads = plan.batch * plan.heads,
                share = std::min(plan.tokens, kSsdStretch) * padded(plan.states);
  states_ = ctx.arena().take(Dtype::kF32, {heads, plan.state_floats()});
  sums_ = ctx.arena().zeros(Dtype::kF64, {heads, 3});
  partial_dB_ = ctx.arena().take(Dtype::kF32, {plan.tasks(), share});
  partial_dC_ = ctx.arena().take(Dtype::kF32, {plan.tasks(), share});
}

void SsdBackwardScratch::add_blocks(Context& ctx, int64_t stretch, View dB, View dC) const {
  const int64_t begin = stretch * kSsdStretch, tokens = std::min(kSsdStretch, plan_.tokens - begin);
  const auto add = [&](View partial, View sum, int64_t b, int64_t t) {
    for (int64_t group = 0; group < plan_.groups; ++group) {
      float* row = sum.row<float>(b * plan_.tokens + begin + t) + group * plan_.states;
      for (int64_t block = 0; block < plan_.blocks(); ++block) {
        const float* share = partial.row<float>((b * plan_.groups + group) * plan_.blocks() + block) +
                             t * padded(plan_.states);
        for (int64_t n = 0; n < plan_.states; ++n) row[n] = block == 0 ? share[n] : row[n] + share[n];
      }
    }
  };
  parallel_for(ctx, plan_.batch * tokens, 64, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      add(partial_dB_, dB, i / tokens, i % tokens);
      add(partial_dC_, dC, i / tokens, i % tokens);
    }
  });
}

void SsdBackwardScratch::add_sequences(const SsdBackward& a) const {
  for (int64_t h = 0; h < plan_.heads; ++h) {
    SsdHeadSums total{};
    for (int64_t b = 0; b < plan_.batch; ++b) {
      const SsdHeadSums& of_sequence = sums(b * plan_.heads + h);
      total.A += of_sequence.A;
      total.D += of_sequence.D;
      total.dt_bias += of_sequence.dt_bias;
    }
    const double A = -std::exp(static_cast<double>(a.A_log.as<float>()[h]));
    a.dA_log.as<float>()[h] += static_cast<float>(total.A * A);
    if (a.dD) a.dD.as<float>()[h] += static_cast<float>(total.D);
    if (a.ddt_bias) a.ddt_bias.as<float>()[h] += static_cast<float>(total.dt_bias);
  }
}

}  // namespace natrix::cpu
