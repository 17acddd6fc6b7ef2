// RMS normalisation, one warp per row. Each row is read twice; the second read comes from the cache.
#include "kernels/cuda/column_sums.h"
#include "kernels/norm.h"

namespace natrix::cuda {
namespace {

/// T: dtype of the sublayers' inputs and outputs.
template <class T>
void forward(Context& ctx, const RmsNormForward& a) {
  const Rows<float> x(a.x), sum(a.sum), weight(a.weight), inv_rms(a.inv_rms);
  const Rows<T> residual(a.residual), y(a.y);
  const auto eps = static_cast<float>(a.eps);
  for_warp_rows(ctx, a.x.rows(), a.x.cols(), {a.x, a.residual, a.sum, a.weight, a.y},
                [=] __device__(int64_t r, auto row) {
                  const auto summed = [&](auto c) {
                    Quad s = c.load(x[r]);
                    if (residual) s += c.load(residual[r]);
                    return s;
                  };
                  float squares = 0;
                  row.for_quads([&](auto c) {
                    const Quad s = summed(c);
                    squares += each([&](int k) { return s[k] * s[k]; }).sum();
                  });
                  const float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(row.cols) + eps);
                  row.for_quads([&](auto c) {  // operands may alias: read before write
                    const Quad s = summed(c), w = weight ? c.load(weight[0]) : all(1);
                    if (sum) c.store(sum[r], s);
                    c.store(y[r], each([&](int k) { return s[k] * scale * w[k]; }));
                  });
                  if (inv_rms && row.lane == 0) inv_rms.data[r] = scale;
                });
}

template <class From, class To>
void backward(Context& ctx, const RmsNormBackward& a) {
  const Rows<float> sum(a.sum), weight(a.weight), inv_rms(a.inv_rms), dsum(a.dsum);
  const Rows<From> dy(a.dy);
  const Rows<To> dx(a.dx);
  const Rows<BFloat16> rounded(a.rounded);
  const int64_t rows = a.sum.rows(), cols = a.sum.cols();
  if (a.dweight) {  // before dx, which may alias dy
    add_column_sums(ctx, rows, cols, {a.dy, a.sum}, a.dweight, [=] __device__(int64_t r, auto c) {
      const Quad dy_rc = c.load(dy[r]), s = c.load(sum[r]);
      const float scale = inv_rms.data[r];
      return each([&](int k) { return dy_rc[k] * s[k] * scale; });
    });
  }
  for_warp_rows(
      ctx, rows, cols, {a.dy, a.sum, a.weight, a.dsum, a.dx, a.rounded}, [=] __device__(int64_t r, auto row) {
        const float scale = inv_rms.data[r];
        const auto dnormed = [&](auto c) {
          const Quad dy_rc = c.load(dy[r]), w = weight ? c.load(weight[0]) : all(1);
          return each([&](int k) { return dy_rc[k] * w[k]; });
        };
        float products = 0;
        row.for_quads([&](auto c) {
          const Quad d = dnormed(c), s = c.load(sum[r]);
          products += each([&](int k) { return d[k] * s[k] * scale; }).sum();
        });
        const float mean = warp_sum(products) / static_cast<float>(row.cols);
        row.for_quads([&](auto c) {
          const Quad d = dnormed(c), s = c.load(sum[r]), onwards = dsum ? c.load(dsum[r]) : all(0);
          const Quad ds = each([&](int k) { return onwards[k] + scale * (d[k] - s[k] * scale * mean); });
          c.store(dx[r], ds);
          if (rounded) c.store(rounded[r], ds);
        });
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
