// Token embedding: y[r] = weight[tokens[r]]. The caller has checked that all tokens are in [0, V).
#pragma once

#include "kernels/base/context.h"

namespace natrix {

struct EmbeddingForward {
  View tokens;  // [R..] i64
  View weight;  // [V, D]
  View y;       // out, [R.., D]
};
void embedding_forward(Context& ctx, const EmbeddingForward& args);
Cost cost(const EmbeddingForward& args);

/// dweight[tokens[r]] += dy[r]. Rows are added in order, so the sum does not depend on the number of threads.
struct EmbeddingBackward {
  View tokens, dy;
  View dweight;  // out (+=), [V, D]
};
void embedding_backward(Context& ctx, const EmbeddingBackward& args);
Cost cost(const EmbeddingBackward& args);

namespace reference {
void embedding_forward(Context& ctx, const EmbeddingForward& args);
void embedding_backward(Context& ctx, const EmbeddingBackward& args);
}  // namespace reference
namespace cpu {
void embedding_forward(Context& ctx, const EmbeddingForward& args);
void embedding_backward(Context& ctx, const EmbeddingBackward& args);
}  // namespace cpu
namespace cuda {
void embedding_forward(Context& ctx, const EmbeddingForward& args);
void embedding_backward(Context& ctx, const EmbeddingBackward& args);
}  // namespace cuda

}  // namespace natrix
