// Loops over rows of f32 whose length need not be a multiple of the vector length.

#if defined(NATRIX_KERNELS_CPU_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_LANES_INL_H_
#undef NATRIX_KERNELS_CPU_LANES_INL_H_
#else
#define NATRIX_KERNELS_CPU_LANES_INL_H_
#endif

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

using F32 = hn::ScalableTag<float>;
using Floats32 = hn::Vec<F32>;

/// Calls body(i, n) for consecutive vectors of a row of `count` elements: n lanes from element i on.
template <class Body>
HWY_INLINE void ForLanes(int64_t count, const Body& body) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(F32()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) body(i, lanes);
  if (i < count) body(i, count - i);
}

HWY_INLINE Floats32 Get(const float* p, int64_t n) {
  return n == static_cast<int64_t>(hn::Lanes(F32())) ? hn::LoadU(F32(), p) : LoadSome(F32(), p, n);
}

HWY_INLINE void Put(Floats32 v, float* p, int64_t n) {
  if (n == static_cast<int64_t>(hn::Lanes(F32()))) {
    hn::StoreU(v, F32(), p);
  } else {
    StoreSome(F32(), v, p, n);
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
