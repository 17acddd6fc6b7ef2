#include "kernels/cpu/scan_backward_scratch.h"

#include <algorithm>
#include <numbers>

#include "kernels/base/parallel.h"

namespace natrix::cpu {

BackwardScratch::BackwardScratch(Context& ctx, const ScanPlan& plan, View A2, View tile_states)
    : plan_(plan), A2_(A2), tile_states_(tile_states) {
  const int64_t tasks = plan.tasks(), state = plan.state_floats(),
                tokens = std::min(plan.tokens, kScanStretch);
  const auto take = [&](int64_t floats) { return ctx.arena().take(Dtype::kF32, {tasks, floats}); };
  carried_ = take(state);
  dA_ = take(state);
  dD_ = take(kScanBlock);
  partial_dB_ = take(tokens * plan.padded_states());
  partial_dC_ = take(tokens * plan.padded_states());
}

BackwardTask BackwardScratch::task(int64_t i) const {
  return {.A2 = A2_.row<float>(i % plan_.blocks()),
          .carried = carried_.row<float>(i),
          .dA = dA_.row<float>(i),
          .dD = dD_.row<float>(i),
          .tile_states = tile_states_.row<float>(i * plan_.tiles()),
          .partial_dB = partial_dB_.row<float>(i),
          .partial_dC = partial_dC_.row<float>(i),
          .state_floats = plan_.state_floats()};
}

void BackwardScratch::add_blocks(Context& ctx, int64_t stretch, View dB, View dC) const {
  const int64_t begin = stretch * kScanStretch, tokens = std::min(kScanStretch, plan_.tokens - begin);
  const auto add = [&](View partial, View sum, int64_t b, int64_t t) {
    float* row = sum.row<float>(b * plan_.tokens + begin + t);
    for (int64_t block = 0; block < plan_.blocks(); ++block) {
      const float* share = partial.row<float>(b * plan_.blocks() + block) + t * plan_.padded_states();
      for (int64_t n = 0; n < plan_.states; ++n) row[n] = block == 0 ? share[n] : row[n] + share[n];
    }
  };
  parallel_for(ctx, plan_.batch * tokens, 256, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      add(partial_dB_, dB, i / tokens, i % tokens);
      add(partial_dC_, dC, i / tokens, i % tokens);
    }
  });
}

void BackwardScratch::add_sequences(Context& ctx, View dA_log, View dD) const {
  const auto over_sequences = [&](View of_task, int64_t block, int64_t at) {
    float sum = 0;
    for (int64_t b = 0; b < plan_.batch; ++b) sum += of_task.row<float>(b * plan_.blocks() + block)[at];
    return sum;
  };
  parallel_for(ctx, plan_.blocks(), 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const ScanTask of_block = plan_.task(block);
      for (int64_t c = 0; c < of_block.count; ++c) {
        for (int64_t n = 0; n < plan_.states; ++n) {
          const int64_t at = n * kScanBlock + c;
          const float A = A2_.row<float>(block)[at] * std::numbers::ln2_v<float>;
          dA_log.row<float>(of_block.first + c)[n] += over_sequences(dA_, block, at) * A;
        }
        if (dD) dD.as<float>()[of_block.first + c] += over_sequences(dD_, block, c);
      }
    }
  });
}

}  // namespace natrix::cpu
