// Shared by the convolution's forward and backward: c_t of one row of channels.

#if defined(NATRIX_KERNELS_CPU_CONV_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_CONV_INL_H_
#undef NATRIX_KERNELS_CPU_CONV_INL_H_
#else
#define NATRIX_KERNELS_CPU_CONV_INL_H_
#endif

#include <hwy/highway.h>
#include <type_traits>

#include "kernels/cpu/conv_plan.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

/// Loads a vector at p of which only `count` lanes exist. All but the last vector of a row are
/// Whole (std::true_type).
template <class Whole>
HWY_INLINE Vector LoadLanes(Whole, const float* p, int64_t count) {
  return Whole::value ? hn::LoadU(Floats(), p) : LoadSome(Floats(), p, count);
}
template <class Whole>
HWY_INLINE void StoreLanes(Whole, Vector v, float* p, int64_t count) {
  if (Whole::value) {
    hn::StoreU(v, Floats(), p);
  } else {
    StoreSome(Floats(), v, p, count);
  }
}

/// Calls body(whole, i, count) for the vectors of a row: `count` channels from channel i on.
template <class Body>
HWY_INLINE void ForVectors(int64_t channels, const Body& body) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  int64_t i = 0;
  for (; i + lanes <= channels; i += lanes) body(std::true_type{}, i, lanes);
  if (i < channels) body(std::false_type{}, i, channels - i);
}

/// One weight per tap and channel: a row of channels for each tap.
struct TapWeights {
  const float* first;
  int64_t stride, taps;
};

/// sum + Σ_k rows[k] ⊙ weight[k], for the channels from i on. kTaps is K if known at
/// compile time, otherwise 0.
template <int64_t kTaps, class Whole>
HWY_INLINE Vector AddTaps(Whole whole, Vector sum, const float* const* rows, const TapWeights& weight,
                          int64_t i, int64_t count) {
  for (int64_t k = 0; k < (kTaps != 0 ? kTaps : weight.taps); ++k) {
    sum = hn::MulAdd(LoadLanes(whole, weight.first + k * weight.stride + i, count),
                     LoadLanes(whole, rows[k] + i, count), sum);
  }
  return sum;
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
