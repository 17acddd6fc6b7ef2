// Copies rows of a table by token number, and adds their gradients back.
#include "kernels/embedding.h"

#include <algorithm>

namespace natrix::reference {

void embedding_forward(Context&, const EmbeddingForward& args) {
  for_float(args.y.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t r = 0; r < args.tokens.count(); ++r) {
      const int64_t token = args.tokens.as<int64_t>()[r];
      std::copy_n(args.weight.row<T>(token), args.weight.cols(), args.y.row<T>(r));
    }
  });
}

void embedding_backward(Context&, const EmbeddingBackward& args) {
  for_float(args.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t r = 0; r < args.tokens.count(); ++r) {
      const int64_t token = args.tokens.as<int64_t>()[r];
      for (int64_t c = 0; c < args.dy.cols(); ++c) args.dweight.row<T>(token)[c] += args.dy.row<T>(r)[c];
    }
  });
}

}  // namespace natrix::reference
