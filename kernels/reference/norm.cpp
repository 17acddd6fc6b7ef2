// RMS normalisation, row by row, in double. Derivation: docs/math/norm.md.
#include "kernels/norm.h"

#include <cmath>
#include <vector>

namespace natrix::reference {
namespace {

template <class T>
void forward(const RmsNormForward& a) {
  const int64_t D = a.x.cols();
  std::vector<double> s(static_cast<size_t>(D));
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    double squares = 0;
    for (int64_t c = 0; c < D; ++c) {
      double& s_c = s[static_cast<size_t>(c)];
      s_c = static_cast<double>(a.x.row<T>(r)[c]);
      if (a.residual) s_c += static_cast<double>(a.residual.row<T>(r)[c]);
      squares += s_c * s_c;
    }
    const double inv_rms = 1 / std::sqrt(squares / static_cast<double>(D) + a.eps);
    for (int64_t c = 0; c < D; ++c) {
      const double s_c = s[static_cast<size_t>(c)];
      const double weight = a.weight ? static_cast<double>(a.weight.as<T>()[c]) : 1.0;
      if (a.sum) a.sum.row<T>(r)[c] = static_cast<T>(s_c);
      a.y.row<T>(r)[c] = static_cast<T>(s_c * inv_rms * weight);
    }
    if (a.inv_rms) a.inv_rms.as<T>()[r] = static_cast<T>(inv_rms);
  }
}

template <class T>
void backward(const RmsNormBackward& a) {
  const int64_t D = a.sum.cols();
  std::vector<double> normed(static_cast<size_t>(D)), dnormed(static_cast<size_t>(D));  // ŝ and dy ⊙ weight
  std::vector<double> dweight(static_cast<size_t>(D), 0.0);
  for (int64_t r = 0; r < a.sum.rows(); ++r) {
    const auto inv_rms = static_cast<double>(a.inv_rms.as<T>()[r]);
    double mean = 0;  // of dy ⊙ weight ⊙ ŝ
    for (int64_t c = 0; c < D; ++c) {
      const auto i = static_cast<size_t>(c);
      const auto dy = static_cast<double>(a.dy.row<T>(r)[c]);
      normed[i] = static_cast<double>(a.sum.row<T>(r)[c]) * inv_rms;
      dnormed[i] = a.weight ? dy * static_cast<double>(a.weight.as<T>()[c]) : dy;
      dweight[i] += dy * normed[i];
      mean += dnormed[i] * normed[i] / static_cast<double>(D);
    }
    for (int64_t c = 0; c < D; ++c) {
      const auto i = static_cast<size_t>(c);
      const double dsum = a.dsum ? static_cast<double>(a.dsum.row<T>(r)[c]) : 0.0;
      a.dx.row<T>(r)[c] = static_cast<T>(dsum + inv_rms * (dnormed[i] - normed[i] * mean));
    }
  }
  for (int64_t c = 0; a.dweight && c < D; ++c) {
    a.dweight.as<T>()[c] += static_cast<T>(dweight[static_cast<size_t>(c)]);
  }
}

}  // namespace

void rms_norm_forward(Context&, const RmsNormForward& args) {
  for_float(args.x.dtype, [&](auto zero) { forward<decltype(zero)>(args); });
}

void rms_norm_backward(Context&, const RmsNormBackward& args) {
  for_float(args.sum.dtype, [&](auto zero) { backward<decltype(zero)>(args); });
}

}  // namespace natrix::reference
