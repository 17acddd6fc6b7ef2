// AdamW, algorithm 2 of the paper, in double: docs/math/adamw.md.
#include "kernels/optim.h"

#include <cmath>

namespace natrix::reference {
namespace {

template <class T>
void update(const AdamW& a) {
  T *w = a.w.as<T>(), *m = a.m.as<T>(), *v = a.v.as<T>();
  const auto step = static_cast<double>(a.step);
  const double m_bias = 1 - std::pow(a.beta1, step);  // corrects for m and v starting at zero
  const double v_bias = 1 - std::pow(a.beta2, step);
  for (int64_t i = 0; i < a.w.count(); ++i) {
    const double g = static_cast<double>(a.g.as<T>()[i]) * a.grad_scale;
    const double m_i = a.beta1 * static_cast<double>(m[i]) + (1 - a.beta1) * g;
    const double v_i = a.beta2 * static_cast<double>(v[i]) + (1 - a.beta2) * g * g;
    const double direction = (m_i / m_bias) / (std::sqrt(v_i / v_bias) + a.eps);
    const auto w_i = static_cast<double>(w[i]);
    m[i] = static_cast<T>(m_i);
    v[i] = static_cast<T>(v_i);
    w[i] = static_cast<T>(w_i - a.lr * (direction + a.weight_decay * w_i));
  }
}

}  // namespace

void adamw(Context&, const AdamW& args) {
  for_float(args.w.dtype, [&](auto zero) { update<decltype(zero)>(args); });
}

void squared_norm(Context&, const SquaredNorm& args) {
  double sum = 0;
  for_float(args.x.dtype, [&](auto zero) {
    const auto* x = args.x.as<decltype(zero)>();
    for (int64_t i = 0; i < args.x.count(); ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  });
  *args.sum.as<double>() = sum;
}

}  // namespace natrix::reference
