#include "kernels/scale.h"

namespace natrix::reference {

void scale(Context&, const Scale& a) {
  for_float(a.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t r = 0; r < a.x.rows(); ++r) {
      for (int64_t c = 0; c < a.x.cols(); ++c)
        a.y.row<T>(r)[c] = static_cast<T>(a.factor * static_cast<double>(a.x.row<T>(r)[c]));
    }
  });
}

}  // namespace natrix::reference
