#include "kernels/embedding.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

void check(View tokens, View rows, View table, std::string_view what) {
  require(tokens && tokens.dtype == Dtype::kI64 && tokens.contiguous(),
          "embedding: tokens must be dense i64");
  check_matrix(table, rows.dtype, table.rows(), rows.cols(), what);
  check_matrix(rows, table.dtype, tokens.count(), table.cols(), what);
}

}  // namespace

Cost cost(const EmbeddingForward& a) {
  return {.bytes = bytes_of({a.tokens, a.y, a.y})};
}

Cost cost(const EmbeddingBackward& a) {
  return {.bytes = bytes_of({a.tokens, a.dy, a.dy, a.dy})};
}

void embedding_forward(Context& ctx, const EmbeddingForward& args) {
  check(args.tokens, args.y, args.weight, "embedding_forward: weight [V, D] or y [R, D]");
  dispatch<EmbeddingForward>(ctx, "embedding_forward", args,
                             {.reference = reference::embedding_forward,
                              .cpu = cpu::embedding_forward,
                              .cuda = if_cuda<cuda::embedding_forward>()});
}

void embedding_backward(Context& ctx, const EmbeddingBackward& args) {
  check(args.tokens, args.dy, args.dweight, "embedding_backward: dweight [V, D] or dy [R, D]");
  dispatch<EmbeddingBackward>(ctx, "embedding_backward", args,
                              {.reference = reference::embedding_backward,
                               .cpu = cpu::embedding_backward,
                               .cuda = if_cuda<cuda::embedding_backward>()});
}

}  // namespace natrix
