#include "kernels/cuda/quads.h"
#include "kernels/scale.h"

namespace natrix::cuda {
namespace {

template <class T>
void multiply_all(Context& ctx, const Scale& a) {
  const Rows<T> x(a.x), y(a.y);
  const auto factor = static_cast<float>(a.factor);
  for_quads(ctx, a.x.rows(), a.x.cols(), {a.x, a.y}, [=] __device__(int64_t r, auto c) {
    const Quad x_rc = c.load(x[r]);
    c.store(y[r], each([&](int k) { return factor * x_rc[k]; }));
  });
}

}  // namespace

void scale(Context& ctx, const Scale& a) {
  for_io(a.x.dtype, [&](auto zero) { multiply_all<decltype(zero)>(ctx, a); });
}

}  // namespace natrix::cuda
