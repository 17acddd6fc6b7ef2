// BFloat16: the upper half of a float, with eight bits of precision and the full range. It is a storage type;
// arithmetic is in float. Conversion rounds to nearest, ties to even; NaN stays NaN.
#pragma once

#include <concepts>
#include <cstdint>

#include "kernels/base/functions.h"

namespace natrix {

struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  template <std::floating_point T>
  NATRIX_HOST_DEVICE explicit BFloat16(T x) : bits(rounded(static_cast<float>(x))) {}
  template <std::floating_point T>
  NATRIX_HOST_DEVICE explicit operator T() const {
    return static_cast<T>(__builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16));
  }

 private:
  NATRIX_HOST_DEVICE static uint16_t rounded(float x) {
#ifdef __CUDA_ARCH__  // one instruction on a GPU
    uint16_t nearest;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(nearest) : "f"(x));
    return nearest;
#else
    const auto b = __builtin_bit_cast(uint32_t, x);
    if (x != x) return static_cast<uint16_t>(b >> 16 | 0x40u);
    return static_cast<uint16_t>((b + 0x7fffu + (b >> 16 & 1u)) >> 16);
#endif
  }
};
static_assert(sizeof(BFloat16) == 2);

}  // namespace natrix
