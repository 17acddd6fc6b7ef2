// Rotary position embedding as its formula says, in double.
#include "kernels/rotary.h"

#include <cmath>
#include <vector>

namespace natrix::reference {
namespace {

template <class T>
void rotate(const Rotary& a) {
  const int64_t tokens = a.x.extent(1), D = a.head_dim;
  const auto pairs = static_cast<int64_t>(a.frequencies.size());
  std::vector<int64_t> positions(static_cast<size_t>(tokens));
  for (int64_t b = 0; b < a.x.extent(0); ++b) {
    find_positions(a, b, positions);
    for (int64_t t = 0; t < tokens; ++t) {
      const T* x = a.x.row<T>(b * tokens + t);
      T* y = a.y.row<T>(b * tokens + t);
      for (int64_t h = 0; h < a.x.cols(); h += D) {
        for (int64_t i = 0; i < pairs; ++i) {
          const double angle =
              static_cast<double>(positions[static_cast<size_t>(t)]) * a.frequencies[static_cast<size_t>(i)];
          const double cos = a.magnitude * std::cos(angle),
                       sin = a.magnitude * (a.reverse ? -std::sin(angle) : std::sin(angle));
          const auto x0 = static_cast<double>(x[h + i]), x1 = static_cast<double>(x[h + i + pairs]);
          y[h + i] = static_cast<T>(x0 * cos - x1 * sin);
          y[h + i + pairs] = static_cast<T>(x1 * cos + x0 * sin);
        }
        for (int64_t c = 2 * pairs; c < D; ++c) y[h + c] = x[h + c];
      }
    }
  }
}

}  // namespace

void rotary(Context&, const Rotary& args) {
  for_float(args.x.dtype, [&](auto zero) { rotate<decltype(zero)>(args); });
}

}  // namespace natrix::reference
