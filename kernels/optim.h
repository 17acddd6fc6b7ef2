// AdamW (arXiv 1711.05101, decoupled weight decay) and the global norm.
//
//   m = β1 m + (1 − β1) g          v = β2 v + (1 − β2) g²
//   w −= lr · (m / (1 − β1^step) / (√(v / (1 − β2^step)) + eps) + weight_decay · w)
//
// g is the gradient times grad_scale (the clipping factor). Operands are flat,
// contiguous and of equal length.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

struct AdamW {
  View w, g, m, v;
  View rounded;  // out, optional: the new w as bf16
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  double grad_scale = 1;
  int64_t step = 1;  // the first step is 1
};
void adamw(Context& ctx, const AdamW& args);
Cost cost(const AdamW& args);

/// sum = Σ x², in double: partial sums over fixed blocks, added in order.
struct SquaredNorm {
  View x;
  View sum;  // out, [1] f64
};
void squared_norm(Context& ctx, const SquaredNorm& args);
Cost cost(const SquaredNorm& args);

namespace reference {
void adamw(Context& ctx, const AdamW& args);
void squared_norm(Context& ctx, const SquaredNorm& args);
}  // namespace reference
namespace cpu {
void adamw(Context& ctx, const AdamW& args);
void squared_norm(Context& ctx, const SquaredNorm& args);
}  // namespace cpu
namespace cuda {
void adamw(Context& ctx, const AdamW& args);
void squared_norm(Context& ctx, const SquaredNorm& args);
}  // namespace cuda

}  // namespace natrix
