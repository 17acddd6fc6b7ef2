#include "core/layers/lm_head.h"

#include <algorithm>
#include <numeric>

#include "core/layers/weights.h"
#include "kernels/base/transfer.h"
#include "kernels/loss.h"
#include "kernels/matmul.h"

namespace natrix {
int64_t LmHead::tile_rows(int64_t vocabulary) {
  return std::clamp<int64_t>((int64_t{8} << 20) / (4 * std::max<int64_t>(vocabulary, 1)), 256, 4096);
}

View LmHead::logits(Context& ctx, View hidden) const {
  View out = ctx.arena().take(wide(hidden.dtype), Shape{hidden.rows(), weight_->shape[0]});
  multiply(ctx, hidden, *weight_, out);
  return out;
}

double LmHead::loss(Context& ctx, View hidden, View targets, View losses) const {
  return tiles(ctx, hidden, targets, losses, 0.0, {});
}

double LmHead::loss_and_gradient(Context& ctx, View hidden, View targets, double scale, View dhidden) {
  return tiles(ctx, hidden, targets, {}, scale, dhidden);
}

double LmHead::tiles(Context& ctx, View hidden, View targets, View losses, double scale, View dhidden) const {
  const int64_t rows = hidden.rows(), step = tile_rows(weight_->shape[0]);
  Arena::Frame scratch(ctx.arena());
  View flat_targets = within_reach(ctx, targets.reshaped({rows, 1}));
  View row_loss = ctx.arena().take(Dtype::kF64, {rows, 1});
  for (int64_t first = 0; first < rows; first += step) {
    Arena::Frame frame(ctx.arena());
    const int64_t n = std::min(step, rows - first);
    View h = hidden.row_range(first, n);
    View l = logits(ctx, h);
    View dl = l.dtype == h.dtype ? l : dhidden ? ctx.arena().take(h.dtype, l.shape) : View{};
    cross_entropy(ctx, {.logits = l,
                        .targets = flat_targets.row_range(first, n).reshaped({n}),
                        .loss = row_loss.row_range(first, n).reshaped({n}),
                        .dlogits = dhidden ? dl : View{},
                        .scale = scale});
    if (dhidden) {
      matmul(ctx, {.a = dl, .b = operand(*weight_, h.dtype), .c = dhidden.row_range(first, n)});
      matmul(ctx, {.a = dl,
                   .b = h,
                   .c = weight_->grad,
                   .transpose_a = true,
                   .accumulate = adds_to_gradient(*weight_)});
    }
  }
  const OnHost on_host(ctx, row_loss);  // the only wait for the device
  const double* all = on_host.view().as<double>();
  if (losses) std::copy_n(all, rows, losses.as<double>());
  return std::accumulate(all, all + rows, 0.0);
}

}  // namespace natrix
