// Softmax cross-entropy over a tile of rows, in nats.
//
//   loss[r]      = logsumexp(logits[r]) − logits[r, target[r]]
//   dlogits[r]   = scale · (softmax(logits[r]) − onehot(target[r]))
//
// A target of −1 (kIgnoreTarget) gives loss 0 and a zero row of dlogits. The caller passes the tokens in
// tiles (core/layers/lm_head.h), so the logits of a whole sequence never exist.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

inline constexpr int64_t kIgnoreTarget = -1;

struct CrossEntropy {
  View logits;         // [R, V]
  View targets;        // [R] i64
  View loss;           // out, [R] f64
  View dlogits;        // out, optional, [R, V]; may alias logits; may be bf16 where logits are f32
  double scale = 1.0;  // factor of dlogits: 1 / (number of predictions in the whole step)
};
void cross_entropy(Context& ctx, const CrossEntropy& args);
Cost cost(const CrossEntropy& args);

namespace reference {
void cross_entropy(Context& ctx, const CrossEntropy& args);
}
namespace cpu {
void cross_entropy(Context& ctx, const CrossEntropy& args);
}
namespace cuda {
void cross_entropy(Context& ctx, const CrossEntropy& args);
}  // namespace cuda

}  // namespace natrix
