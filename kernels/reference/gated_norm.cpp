// Gate and RMS normalisation by groups of channels, in double. Derivation: docs/math/ssd.md.
#include "kernels/gated_norm.h"

#include <cmath>
#include <vector>

#include "kernels/base/functions.h"

namespace natrix::reference {
namespace {

/// One channel of a row: what is normalised, and what multiplies it afterwards.
struct Channel {
  double x, z, weight;
  double before, after;  // the gate, on the side of the norm where it is; 1 on the other
  double s() const { return x * before; }
};

template <class T, class Args>
Channel channel(const Args& a, int64_t r, int64_t c) {
  const auto x = static_cast<double>(a.x.template row<T>(r)[c]),
             z = static_cast<double>(a.z.template row<T>(r)[c]);
  const double gate = z * sigmoid(z),
               weight = a.weight ? static_cast<double>(a.weight.template as<T>()[c]) : 1.0;
  const bool first = a.order == GatedNorm::kGateThenNorm;
  return {.x = x, .z = z, .weight = weight, .before = first ? gate : 1, .after = first ? 1 : gate};
}

template <class T>
void forward(const GatedNormForward& a) {
  const int64_t width = a.x.cols() / a.groups;
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    for (int64_t g = 0; g < a.groups; ++g) {
      double inv_rms = 1;
      if (a.order != GatedNorm::kGateOnly) {
        double squares = 0;
        for (int64_t c = g * width; c < (g + 1) * width; ++c) {
          const double s = channel<T>(a, r, c).s();
          squares += s * s;
        }
        inv_rms = 1 / std::sqrt(squares / static_cast<double>(width) + a.eps);
      }
      if (a.inv_rms) a.inv_rms.as<T>()[r * a.groups + g] = static_cast<T>(inv_rms);
      for (int64_t c = g * width; c < (g + 1) * width; ++c) {
        const Channel k = channel<T>(a, r, c);
        a.y.row<T>(r)[c] = static_cast<T>(k.s() * inv_rms * k.weight * k.after);
      }
    }
  }
}

template <class T>
void backward(const GatedNormBackward& a) {
  const int64_t width = a.x.cols() / a.groups;
  std::vector<double> dweight(static_cast<size_t>(a.x.cols()), 0.0);
  const bool norm = a.order != GatedNorm::kGateOnly;
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    for (int64_t g = 0; g < a.groups; ++g) {
      const double inv_rms = norm ? static_cast<double>(a.inv_rms.as<T>()[r * a.groups + g]) : 1.0;
      const auto dy = [&](int64_t c) { return static_cast<double>(a.dy.row<T>(r)[c]); };
      double mean = 0;  // of dŝ ⊙ ŝ
      for (int64_t c = g * width; norm && c < (g + 1) * width; ++c) {
        const Channel k = channel<T>(a, r, c);
        mean += dy(c) * k.after * k.weight * k.s() * inv_rms / static_cast<double>(width);
      }
      for (int64_t c = g * width; c < (g + 1) * width; ++c) {
        const Channel k = channel<T>(a, r, c);
        const double normed = k.s() * inv_rms, dnormed = dy(c) * k.after * k.weight;
        const double ds = norm ? inv_rms * (dnormed - normed * mean) : dnormed;
        const double dgate = a.order == GatedNorm::kGateThenNorm ? ds * k.x : dy(c) * normed * k.weight;
        dweight[static_cast<size_t>(c)] += dy(c) * k.after * normed;
        a.dx.row<T>(r)[c] = static_cast<T>(ds * k.before);
        a.dz.row<T>(r)[c] = static_cast<T>(dgate * silu_derivative(k.z));
      }
    }
  }
  for (int64_t c = 0; a.dweight && c < a.x.cols(); ++c)
    a.dweight.as<T>()[c] += static_cast<T>(dweight[static_cast<size_t>(c)]);
}

}  // namespace

void gated_norm_forward(Context&, const GatedNormForward& args) {
  for_float(args.x.dtype, [&](auto zero) { forward<decltype(zero)>(args); });
}

void gated_norm_backward(Context&, const GatedNormBackward& args) {
  for_float(args.x.dtype, [&](auto zero) { backward<decltype(zero)>(args); });
}

}  // namespace natrix::reference
