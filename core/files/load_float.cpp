// Conversion of stored floats. Loads go through memcpy, so the source needs no alignment.
#include <cstring>

#include "core/files/half_float.h"
#include "core/files/safetensors.h"
#include "kernels/base/transfer.h"

namespace natrix {
namespace {

struct Half {
  uint16_t bits;
  explicit operator float() const { return half_to_float(bits); }
  explicit operator double() const { return half_to_float(bits); }
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

void store_float(View values, View to) {
  require(values.contiguous() && to.contiguous() && values.count() == to.count(),
          "store_float between unlike views");
  const float* from = values.as<float>();
  const int64_t count = values.count();
  switch (to.dtype) {
    case Dtype::kF32: std::memcpy(to.data, from, static_cast<size_t>(values.bytes())); return;
    case Dtype::kBF16:
      for (int64_t i = 0; i < count; ++i) to.as<BFloat16>()[i] = BFloat16(from[i]);
      return;
    case Dtype::kF16:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(to.data)[i] = float_to_half(from[i]);
      return;
    default: require(false, "values are stored as f32, bf16 or f16");
  }
}

}  // namespace natrix
