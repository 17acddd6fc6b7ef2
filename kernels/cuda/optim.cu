// AdamW reads four numbers and writes three an element, and half a one where there is a bf16 copy; the global
// norm reads one.
#include <cmath>

#include "kernels/cuda/launch.h"
#include "kernels/optim.h"

namespace natrix::cuda {

void adamw(Context& ctx, const AdamW& a) {
  const Rows<float> w(a.w), g(a.g), m(a.m), v(a.v);
  const Rows<BFloat16> rounded(a.rounded);
  const auto beta1 = static_cast<float>(a.beta1), beta2 = static_cast<float>(a.beta2);
  const auto rest1 = static_cast<float>(1 - a.beta1),
             rest2 = static_cast<float>(1 - a.beta2);  // exact in double
  const auto step = static_cast<double>(a.step);
  const auto m_bias = static_cast<float>(1 - std::pow(a.beta1, step));
  const auto v_bias = static_cast<float>(1 - std::pow(a.beta2, step));
  const auto lr = static_cast<float>(a.lr), eps = static_cast<float>(a.eps),
             decay = static_cast<float>(a.weight_decay);
  const auto grad_scale = static_cast<float>(a.grad_scale);
  for_cells(ctx, 1, a.w.count(), [=] __device__(int64_t, int64_t i) {
    const float g_i = g.data[i] * grad_scale, w_i = w.data[i];
    const float m_i = beta1 * m.data[i] + rest1 * g_i, v_i = beta2 * v.data[i] + rest2 * g_i * g_i;
    m.data[i] = m_i;
    v.data[i] = v_i;
    const float next = w_i - lr * ((m_i / m_bias) / (sqrtf(v_i / v_bias) + eps) + decay * w_i);
    w.data[i] = next;
    if (rounded) rounded.data[i] = BFloat16(next);
  });
}

void squared_norm(Context& ctx, const SquaredNorm& a) {
  constexpr int64_t kPart = 2048;  // elements a warp
  const int64_t count = a.x.count(), parts = (count + kPart - 1) / kPart;
  Arena::Frame frame(ctx.arena());
  const Rows<double> sum(ctx.arena().take(Dtype::kF64, {parts})), total(a.sum);
  const Rows<float> x(a.x);
  for_warps(ctx, parts, [=] __device__(int64_t p, int lane) {
    const int64_t end = (p + 1) * kPart < count ? (p + 1) * kPart : count;
    double squares = 0;
    for (int64_t i = p * kPart + lane; i < end; i += 32) {
      squares += static_cast<double>(x.data[i]) * static_cast<double>(x.data[i]);
    }
    for (int bits = 16; bits > 0; bits /= 2) squares += __shfl_xor_sync(kAllLanes, squares, bits);
    if (lane == 0) sum.data[p] = squares;
  });
  for_warps(ctx, 1, [=] __device__(int64_t, int lane) {
    double squares = 0;
    for (int64_t p = lane; p < parts; p += 32) squares += sum.data[p];
    for (int bits = 16; bits > 0; bits /= 2) squares += __shfl_xor_sync(kAllLanes, squares, bits);
    if (lane == 0) total.data[0] = squares;
  });
}

}  // namespace natrix::cuda
