// Copies rows of a table by token number, and adds their gradients back. Bound by memory bandwidth.
#include "kernels/embedding.h"

#include <cstring>

#include "kernels/cpu/elements.h"

namespace natrix::cpu {

void embedding_forward(Context& ctx, const EmbeddingForward& args) {
  require_f32(args.y, "embedding_forward: the CPU backend computes in f32 only");
  const int64_t* tokens = args.tokens.as<int64_t>();
  parallel_for(ctx, args.tokens.count(), rows_a_block(args.y.cols()), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(args.y.row<float>(r), args.weight.row<float>(tokens[r]),
                  static_cast<size_t>(args.y.cols()) * sizeof(float));
    }
  });
}

/// Threads share the columns, not the rows: two rows may hold the same token, and their
/// order decides the bits.
void embedding_backward(Context& ctx, const EmbeddingBackward& args) {
  require_f32(args.dy, "embedding_backward: the CPU backend computes in f32 only");
  constexpr int64_t kColumns = 128;  // eight cache lines of a row
  const int64_t* tokens = args.tokens.as<int64_t>();
  parallel_for(ctx, args.dy.cols(), kColumns, [&](int64_t begin, int64_t end) {
    for (int64_t r = 0; r < args.tokens.count(); ++r) {
      const float* dy = args.dy.row<float>(r);
      float* dweight = args.dweight.row<float>(tokens[r]);
      for (int64_t c = begin; c < end; ++c) dweight[c] += dy[c];
    }
  });
}

}  // namespace natrix::cpu
