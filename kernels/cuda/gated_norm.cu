// The gate and the RMS norm that end a Mamba-2 mixer, one warp per row and group. Each row is read twice; the second
// read comes from the cache.
#include "kernels/base/functions.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/gated_norm.h"

namespace natrix::cuda {
namespace {

struct Gate {
  Rows<float> x, z, weight;
  GatedNorm order;

  template <class Args>
  explicit Gate(const Args& a) : x(a.x), z(a.z), weight(a.weight), order(a.order) {}

  __device__ float silu(int64_t r, int64_t c) const { return z[r][c] * sigmoid(z[r][c]); }
  /// What is normalised.
  __device__ float s(int64_t r, int64_t c) const {
    return order == GatedNorm::kNormThenGate ? x[r][c] : x[r][c] * silu(r, c);
  }
  /// The factor of the normalised value: the weight, and the gate where it comes last.
  __device__ float after(int64_t r, int64_t c) const {
    return order == GatedNorm::kNormThenGate ? weight.data[c] * silu(r, c) : weight.data[c];
  }
};

void gate_forward(Context& ctx, const GatedNormForward& a) {
  const Gate g(a);
  const Rows<float> y(a.y);
  for_cells(ctx, a.x.rows(), a.x.cols(),
            [=] __device__(int64_t r, int64_t c) { y[r][c] = g.x[r][c] * g.silu(r, c); });
}

void gate_backward(Context& ctx, const GatedNormBackward& a) {
  const Gate g(a);
  const Rows<float> dy(a.dy), dx(a.dx), dz(a.dz);
  for_cells(ctx, a.x.rows(), a.x.cols(), [=] __device__(int64_t r, int64_t c) {
    const float dy_rc = dy[r][c], x = g.x[r][c];
    dz[r][c] = dy_rc * x * silu_derivative(g.z[r][c]);
    dx[r][c] = dy_rc * g.silu(r, c);
  });
}

void add_weight_gradient(Context& ctx, const GatedNormBackward& a) {
  const Gate g(a);
  const Rows<float> dy(a.dy);
  const float* inv_rms = Rows<float>(a.inv_rms).data;
  const int64_t groups = a.groups, width = a.x.cols() / groups;
  add_column_sums(ctx, a.x.rows(), a.x.cols(), {a.dy, a.x, a.z}, a.dweight,
                  [=] __device__(int64_t r, auto columns) {
                    return each([&](int k) {
                      const int64_t c = columns.first + k;
                      if (!columns.has(k)) return 0.0f;
                      const float gate = g.order == GatedNorm::kNormThenGate ? g.silu(r, c) : 1.0f;
                      return dy[r][c] * gate * g.s(r, c) * inv_rms[r * groups + c / width];
                    });
                  });
}

}  // namespace

void gated_norm_forward(Context& ctx, const GatedNormForward& a) {
  if (a.order == GatedNorm::kGateOnly) return gate_forward(ctx, a);
  const Gate g(a);
  const Rows<float> y(a.y);
  float* inv_rms = Rows<float>(a.inv_rms).data;
  const int64_t groups = a.groups, width = a.x.cols() / groups;
  const auto eps = static_cast<float>(a.eps);
  for_warps(ctx, a.x.rows() * groups, [=] __device__(int64_t i, int lane) {
    const int64_t r = i / groups, first = i % groups * width;
    float squares = 0;
    for (int64_t c = first + lane; c < first + width; c += 32) squares += g.s(r, c) * g.s(r, c);
    const float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(width) + eps);
    for (int64_t c = first + lane; c < first + width; c += 32) y[r][c] = g.s(r, c) * scale * g.after(r, c);
    if (inv_rms != nullptr && lane == 0) inv_rms[i] = scale;
  });
}

void gated_norm_backward(Context& ctx, const GatedNormBackward& a) {
  if (a.order == GatedNorm::kGateOnly) return gate_backward(ctx, a);
  if (a.dweight) add_weight_gradient(ctx, a);  // before dx, which may alias dy
  const Gate g(a);
  const Rows<float> dy(a.dy), dx(a.dx), dz(a.dz);
  const float* inv_rms = Rows<float>(a.inv_rms).data;
  const int64_t groups = a.groups, width = a.x.cols() / groups;
  for_warps(ctx, a.x.rows() * groups, [=] __device__(int64_t i, int lane) {
    const int64_t r = i / groups, first = i % groups * width;
    const float scale = inv_rms[i];
    float products = 0;
    for (int64_t c = first + lane; c < first + width; c += 32)
      products += dy[r][c] * g.after(r, c) * g.s(r, c) * scale;
    const float mean = warp_sum(products) / static_cast<float>(width);
    for (int64_t c = first + lane; c < first + width; c += 32) {
      const float s = g.s(r, c), x = g.x[r][c], dy_rc = dy[r][c];
      const float ds = scale * (dy_rc * g.after(r, c) - s * scale * mean);
      const float slope = silu_derivative(g.z[r][c]);
      if (g.order == GatedNorm::kNormThenGate) {
        dz[r][c] = dy_rc * s * scale * g.weight.data[c] * slope;
        dx[r][c] = ds;
      } else {
        const float gate = g.silu(r, c);
        dz[r][c] = ds * x * slope;
        dx[r][c] = ds * gate;
      }
    }
  });
}

}  // namespace natrix::cuda
