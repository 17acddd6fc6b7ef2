// Copies rows of a table. Backward adds the rows of a token in order: the first row with a token finds all
// later rows with the same token, one warp per row. That takes R² / 32 comparisons of a few cached bytes
// and no atomic operation.
#include "kernels/cuda/quads.h"
#include "kernels/embedding.h"

namespace natrix::cuda {

void embedding_forward(Context& ctx, const EmbeddingForward& a) {
  const Rows<int64_t> tokens(a.tokens);
  const Rows<float> weight(a.weight), y(a.y);
  for_quads(ctx, a.y.rows(), a.y.cols(), {a.weight, a.y},
            [=] __device__(int64_t r, auto c) { c.store(y[r], c.load(weight[tokens.data[r]])); });
}

void embedding_backward(Context& ctx, const EmbeddingBackward& a) {
  const Rows<int64_t> tokens(a.tokens);
  const Rows<float> dy(a.dy), dweight(a.dweight);
  const int64_t rows = a.tokens.count();
  for_warp_rows(ctx, rows, a.dy.cols(), {a.dy, a.dweight}, [=] __device__(int64_t r, auto columns) {
    const int lane = columns.lane;
    const int64_t token = tokens.data[r];
    for (int64_t first = 0; first < r; first += 32) {
      const int64_t s = first + lane;
      if (__any_sync(kAllLanes, s < r && tokens.data[s] == token)) return;  // an earlier row does it
    }
    for (int64_t first = r; first < rows; first += 32) {
      const int64_t s = first + lane;
      unsigned same = __ballot_sync(kAllLanes, s < rows && tokens.data[s] == token);
      for (int64_t row = first; same != 0; ++row, same >>= 1) {
        if ((same & 1u) == 0) continue;
        columns.for_quads([&](auto c) {
          Quad sum = c.load(dweight[token]);
          sum += c.load(dy[row]);
          c.store(dweight[token], sum);
        });
      }
    }
  });
}

}  // namespace natrix::cuda
