// Softmax cross-entropy, row by row, in double: docs/math/loss.md.
#include "kernels/loss.h"

#include <algorithm>
#include <cmath>

namespace natrix::reference {
namespace {

/// log Σ exp(x). The largest x is subtracted first, so that nothing overflows.
template <class T>
double log_sum_exp(const T* x, int64_t count) {
  const auto largest = static_cast<double>(*std::max_element(x, x + count));
  double sum = 0;
  for (int64_t c = 0; c < count; ++c) sum += std::exp(static_cast<double>(x[c]) - largest);
  return largest + std::log(sum);
}

template <class T>
void cross_entropy_rows(const CrossEntropy& a) {
  const int64_t V = a.logits.cols();
  for (int64_t r = 0; r < a.logits.rows(); ++r) {
    const int64_t target = a.targets.as<int64_t>()[r];
    const T* logits = a.logits.row<T>(r);
    if (target == kIgnoreTarget) {
      a.loss.as<double>()[r] = 0;
      if (a.dlogits) std::fill_n(a.dlogits.row<T>(r), V, T{0});
      continue;
    }
    const double lse = log_sum_exp(logits, V);
    a.loss.as<double>()[r] = lse - static_cast<double>(logits[target]);
    for (int64_t c = 0; a.dlogits && c < V; ++c) {
      const double probability = std::exp(static_cast<double>(logits[c]) - lse);
      a.dlogits.row<T>(r)[c] = static_cast<T>(a.scale * (probability - (c == target ? 1.0 : 0.0)));
    }
  }
}

}  // namespace

void cross_entropy(Context&, const CrossEntropy& args) {
  for_float(args.logits.dtype, [&](auto zero) { cross_entropy_rows<decltype(zero)>(args); });
}

}  // namespace natrix::reference
