// RMS normalisation, a warp a row. A row is read twice; the second time it comes from the cache.
#include "kernels/cuda/column_sums.h"
#include "kernels/norm.h"

namespace natrix::cuda {
namespace {

/// T: of what comes from a sublayer and goes to the next.
template <class T>
void forward(Context& ctx, const RmsNormForward& a) {
  const Rows<float> x(a.x), sum(a.sum), weight(a.weight), inv_rms(a.inv_rms);
  const Rows<T> residual(a.residual), y(a.y);
  const int64_t cols = a.x.cols();
  const auto eps = static_cast<float>(a.eps);
  for_warps(ctx, a.x.rows(), [=] __device__(int64_t r, int lane) {
    float squares = 0;
    for (int64_t c = lane; c < cols; c += 32) {
      const float s = x[r][c] + (residual ? static_cast<float>(residual[r][c]) : 0.0f);
      squares += s * s;
    }
    const float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(cols) + eps);
    for (int64_t c = lane; c < cols; c += 32) {  // of an element, all is read before anything is written
      const float s = x[r][c] + (residual ? static_cast<float>(residual[r][c]) : 0.0f);
      if (sum) sum[r][c] = s;
      y[r][c] = static_cast<T>(s * scale * (weight ? weight[0][c] : 1.0f));
    }
    if (inv_rms && lane == 0) inv_rms.data[r] = scale;
  });
}

template <class From, class To>
void backward(Context& ctx, const RmsNormBackward& a) {
  const Rows<float> sum(a.sum), weight(a.weight), inv_rms(a.inv_rms), dsum(a.dsum);
  const Rows<From> dy(a.dy);
  const Rows<To> dx(a.dx);
  const int64_t cols = a.sum.cols();
  if (a.dweight) {  // before dx, which may be dy
    add_column_sums(ctx, a.sum.rows(), cols, Rows<float>(a.dweight).data,
                    [=] __device__(int64_t r, int64_t c) {
                      return static_cast<float>(dy[r][c]) * sum[r][c] * inv_rms.data[r];
                    });
  }
  for_warps(ctx, a.sum.rows(), [=] __device__(int64_t r, int lane) {
    const float scale = inv_rms.data[r];
    float products = 0;
    for (int64_t c = lane; c < cols; c += 32) {
      products += static_cast<float>(dy[r][c]) * (weight ? weight[0][c] : 1.0f) * sum[r][c] * scale;
    }
    const float mean = warp_sum(products) / static_cast<float>(cols);
    for (int64_t c = lane; c < cols; c += 32) {
      const float dnormed = static_cast<float>(dy[r][c]) * (weight ? weight[0][c] : 1.0f);
      dx[r][c] = static_cast<To>((dsum ? dsum[r][c] : 0.0f) + scale * (dnormed - sum[r][c] * scale * mean));
    }
  });
}

}  // namespace

void rms_norm_forward(Context& ctx, const RmsNormForward& a) {
  require(!a.residual || a.residual.dtype == a.y.dtype, "rms_norm_forward: residual and y share a dtype");
  for_io(a.y.dtype, [&](auto zero) { forward<decltype(zero)>(ctx, a); });
}

void rms_norm_backward(Context& ctx, const RmsNormBackward& a) {
  for_io(a.dy.dtype, [&](auto from) {
    for_io(a.dx.dtype, [&](auto to) { backward<decltype(from), decltype(to)>(ctx, a); });
  });
}

}  // namespace natrix::cuda
