#include "kernels/cpu/ssd_plan.h"

#include <algorithm>

#include "kernels/ssd.h"

namespace natrix::cpu {

SsdPlan::SsdPlan(View dt, View x, View B, int64_t groups_)
    : batch(dt.extent(0)),
      tokens(dt.extent(1)),
      heads(dt.extent(2)),
      groups(groups_),
      channels(x.cols() / heads),
      states(B.cols() / groups) {
  require(dt.dtype == Dtype::kF32, "the CPU kernels of Mamba-2 take f32; f64 is for the reference backend");
}

SsdTask SsdPlan::task(int64_t index) const {
  const int64_t block = index % blocks(), group = index / blocks() % groups,
                first = block * kSsdBlock;  // of the group
  return {.index = index,
          .sequence = index / blocks() / groups,
          .group = group,
          .block = block,
          .first = group * heads_a_group() + first,
          .count = std::min(kSsdBlock, heads_a_group() - first)};
}

SsdTile SsdPlan::tile(int64_t index) const {
  return {index * kSsdTile, std::min(kSsdTile, tokens - index * kSsdTile)};
}

Shape ssd_tile_states_shape(const Shape& x, int64_t heads, int64_t d_state) {
  return {x[0] * heads, (x[1] + kSsdTile - 1) / kSsdTile, d_state * padded(x.cols() / heads)};
}

}  // namespace natrix::cpu
