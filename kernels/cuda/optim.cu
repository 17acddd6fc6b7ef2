// AdamW reads four numbers and writes three per element, plus half of one where there is a bf16 copy.
// The global norm reads one.
#include <cmath>

#include "kernels/cuda/quads.h"
#include "kernels/optim.h"

namespace natrix::cuda {

void adamw(Context& ctx, const AdamW& a) {
  const Rows<float> w(a.w), g(a.g), m(a.m), v(a.v);
  const Rows<BFloat16> rounded(a.rounded);
  const auto beta1 = static_cast<float>(a.beta1), beta2 = static_cast<float>(a.beta2);
  // Subtracted in double: 1 − β in f32 would lose bits.
  const auto rest1 = static_cast<float>(1 - a.beta1), rest2 = static_cast<float>(1 - a.beta2);
  const auto step = static_cast<double>(a.step);
  const auto m_bias = static_cast<float>(1 - std::pow(a.beta1, step));
  const auto v_bias = static_cast<float>(1 - std::pow(a.beta2, step));
  const auto lr = static_cast<float>(a.lr), eps = static_cast<float>(a.eps),
             decay = static_cast<float>(a.weight_decay);
  const auto grad_scale = static_cast<float>(a.grad_scale);
  const auto flat = [](View v) { return v ? v.reshaped({v.count()}) : v; };
  for_quads(ctx, 1, a.w.count(), {flat(a.w), flat(a.g), flat(a.m), flat(a.v), flat(a.rounded)},
            [=] __device__(int64_t, auto i) {
              const Quad g_i = i.load(g.data), w_i = i.load(w.data);
              Quad m_i = i.load(m.data), v_i = i.load(v.data);
              const Quad next = each([&](int k) {
                const float scaled = g_i[k] * grad_scale;
                m_i[k] = beta1 * m_i[k] + rest1 * scaled;
                v_i[k] = beta2 * v_i[k] + rest2 * scaled * scaled;
                return w_i[k] - lr * ((m_i[k] / m_bias) / (sqrtf(v_i[k] / v_bias) + eps) + decay * w_i[k]);
              });
              i.store(m.data, m_i);
              i.store(v.data, v_i);
              i.store(w.data, next);
              if (rounded) i.store(rounded.data, next);
            });
}

void squared_norm(Context& ctx, const SquaredNorm& a) {
  constexpr int64_t kPart = 2048;  // elements per warp
  const int64_t count = a.x.count(), parts = (count + kPart - 1) / kPart;
  Arena::Frame frame(ctx.arena());
  const Rows<double> sum(ctx.arena().take(Dtype::kF64, {parts})), total(a.sum);
  const Rows<float> x(a.x);
  for_warp_rows(ctx, parts, count, {a.x.reshaped({count})}, [=] __device__(int64_t p, auto row) {
    const int lane = row.lane;
    double squares = 0;
    row.for_quads(p * kPart, kPart, [&](auto c) {
      const Quad quad = c.load(x.data);
      for (int k = 0; k < kQuad; ++k) squares += static_cast<double>(quad[k]) * static_cast<double>(quad[k]);
    });
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
