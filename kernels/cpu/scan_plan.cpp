#include "kernels/cpu/scan_plan.h"

#include <algorithm>

#include "kernels/base/parallel.h"
#include "kernels/scan.h"

namespace natrix::cpu {

ScanPlan::ScanPlan(const Shape& activation, int64_t d_state)
    : batch(activation[0]), tokens(activation[1]), channels(activation[2]), states(d_state) {}

ScanPlan::ScanPlan(View dt, View A_log) : ScanPlan(dt.shape, A_log.extent(1)) {
  require(dt.dtype == Dtype::kF32, "the CPU scan takes f32; f64 is for the reference backend");
}

ScanTask ScanPlan::task(int64_t index) const {
  const int64_t sequence = index / blocks(), block = index % blocks(), first = block * kScanBlock;
  return {sequence, block, first, std::min(kScanBlock, channels - first)};
}

int64_t ScanPlan::grain() const {
  constexpr int64_t kWorthwhile = 1 << 15;  // exponentials: about 8 µs
  return std::max<int64_t>(1, kWorthwhile / std::max<int64_t>(1, tokens * state_floats()));
}

Shape tile_states_shape(const Shape& activation, int64_t d_state) {
  const ScanPlan plan(activation, d_state);
  return {plan.tasks(), plan.tiles(), plan.state_floats()};
}

View pad_states(Context& ctx, View v, const ScanPlan& plan) {
  const int64_t states = plan.states, padded = plan.padded_states();
  if (padded == states) return v;
  const View wide = ctx.arena().take(Dtype::kF32, {v.rows(), padded});
  parallel_for(ctx, v.rows(), 1024, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* to = wide.row<float>(r);
      std::copy_n(v.row<float>(r), states, to);
      std::fill(to + states, to + padded, 0.0f);
    }
  });
  return wide;
}

}  // namespace natrix::cpu
