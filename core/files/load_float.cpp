// Conversion of stored floats. Loads go through memcpy, so the source needs no alignment.
#include <bit>
#include <cmath>
#include <cstring>

#include "core/files/safetensors.h"
#include "kernels/base/transfer.h"

namespace natrix {
namespace {

struct Half {
  uint16_t bits;
  operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu;
    const uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0) {  // zero and subnormals, in units of 2^-24
      const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
      return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
    }
    const uint32_t rebiased =
        exponent == 0x1fu ? 0xffu : exponent + (127 - 15);  // all ones: infinity and NaN
    return std::bit_cast<float>(sign | rebiased << 23 | fraction << 13);
  }
};

template <class From, class To>
void load(const void* stored, To* to, int64_t count) {
  const char* bytes = static_cast<const char*>(stored);
  for (int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, bytes + i * static_cast<int64_t>(sizeof value), sizeof value);
    to[i] = static_cast<To>(value);
  }
}

template <class To>
void load_as(View stored, To* to) {
  const int64_t count = stored.count();
  switch (stored.dtype) {
    case Dtype::kF32: return load<float>(stored.data, to, count);
    case Dtype::kF64: return load<double>(stored.data, to, count);
    case Dtype::kBF16: return load<BFloat16>(stored.data, to, count);
    case Dtype::kF16: return load<Half>(stored.data, to, count);
    default:
      throw InputError(std::string("a tensor holds ") + name_of(stored.dtype) + "; expected floating point");
  }
}

}  // namespace

void load_float(View stored, View to) {
  require(stored.contiguous() && to.contiguous() && stored.count() == to.count(),
          "load_float between unlike views");
  write_from_host(to, [&](View host) {
    for_float(host.dtype, [&](auto zero) { load_as(stored, host.as<decltype(zero)>()); });
  });
}

}  // namespace natrix
