#include "kernels/scale.h"

#include "kernels/cpu/elements.h"

namespace natrix::cpu {

void scale(Context& ctx, const Scale& a) {
  require_f32(a.x, "scale: the CPU backend computes in f32 only");
  const auto factor = static_cast<float>(a.factor);
  const int64_t cols = a.x.cols();
  parallel_for(ctx, a.x.rows(), rows_a_block(cols), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = a.x.row<float>(r);
      float* y = a.y.row<float>(r);
      for (int64_t c = 0; c < cols; ++c) y[c] = factor * x[c];
    }
  });
}

}  // namespace natrix::cpu
