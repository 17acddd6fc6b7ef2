#include "core/gguf/source_values.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "core/files/half_float.h"
#include "kernels/base/bfloat16.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

uint32_t bits_of(float value, Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16: return BFloat16(value).bits;
    case Dtype::kF16: return float_to_half(value);
    default: return std::bit_cast<uint32_t>(value);
  }
}

float value_of(uint32_t bits, Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16: return std::bit_cast<float>(bits << 16);
    case Dtype::kF16: return half_to_float(static_cast<uint16_t>(bits));
    default: return std::bit_cast<float>(bits);
  }
}

uint32_t load_bits(const void* data, int64_t index, Dtype dtype) {
  const auto width = static_cast<size_t>(size_of(dtype));
  uint32_t bits = 0;
  std::memcpy(&bits, static_cast<const char*>(data) + static_cast<size_t>(index) * width, width);
  return bits;
}

/// Numbers the values of a dtype in their order, so that neighbours differ by one.
int64_t rank_of(uint32_t bits, Dtype dtype) {
  const uint32_t sign = dtype == Dtype::kF32 ? 0x80000000u : 0x8000u;
  return (bits & sign) != 0 ? -int64_t{bits & (sign - 1)} : int64_t{bits};
}

uint32_t bits_of_rank(int64_t rank, Dtype dtype) {
  const uint32_t sign = dtype == Dtype::kF32 ? 0x80000000u : 0x8000u;
  return rank < 0 ? sign | static_cast<uint32_t>(-rank) : static_cast<uint32_t>(rank);
}

/// Exponentials of two libraries may differ in the last bits; a changed tensor differs in more.
bool close(float a, float b, GgufType type) {
  const float unit = type == GgufType::kF32 ? 0x1p-20f : type == GgufType::kF16 ? 0x1p-9f : 0x1p-6f;
  return a == b || std::fabs(a - b) <= unit * std::fabs(b) || (std::isnan(a) && std::isnan(b));
}

}  // namespace

std::optional<SourceCorrection> correction_for(View source, const float* restored) {
  const int64_t count = source.count();
  std::string steps(static_cast<size_t>((count + 3) / 4), '\0');
  bool equal = true, near = true;
  for (int64_t i = 0; i < count && near; ++i) {
    const uint32_t bits = load_bits(source.data, i, source.dtype), guess = bits_of(restored[i], source.dtype);
    const int64_t step = rank_of(bits, source.dtype) - rank_of(guess, source.dtype);
    near = step >= -1 && step <= 1 && bits_of_rank(rank_of(bits, source.dtype), source.dtype) == bits;
    if (step == 0 && bits == guess) continue;
    equal = false;
    char& four = steps[static_cast<size_t>(i / 4)];
    four = static_cast<char>(static_cast<uint8_t>(four) | (step > 0 ? 1 : step < 0 ? 2 : 0) << (2 * (i % 4)));
  }
  if (equal && near) return std::nullopt;
  if (near) return SourceCorrection{kUlpsKey, steps};
  return SourceCorrection{
      kSourceKey, std::string(static_cast<const char*>(source.data), static_cast<size_t>(source.bytes()))};
}

void apply_correction(const GgufFile& file, const std::string& name, const TensorRule& rule, Dtype dtype,
                      const Shape& shape, GgufType type, const float* stored, float* restored) {
  const int64_t count = shape.count();
  const bool whole = file.has(kSourceKey + name);
  if (!whole && !file.has(kUlpsKey + name)) return;
  const std::string_view bytes = file.bytes((whole ? kSourceKey : kUlpsKey) + name);
  if (static_cast<int64_t>(bytes.size()) != (whole ? count * size_of(dtype) : (count + 3) / 4)) return;
  std::vector<float> corrected(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits = whole ? load_bits(bytes.data(), i, dtype) : bits_of(restored[i], dtype);
    const int step = whole ? 0 : static_cast<uint8_t>(bytes[static_cast<size_t>(i / 4)]) >> (2 * (i % 4)) & 3;
    if (step != 0) bits = bits_of_rank(rank_of(bits, dtype) + (step == 1 ? 1 : -1), dtype);
    corrected[static_cast<size_t>(i)] = value_of(bits, dtype);
  }
  std::vector<float> again = corrected;
  to_gguf_values(rule, shape, again.data());
  for (int64_t i = 0; i < count; ++i) {
    if (!close(again[static_cast<size_t>(i)], stored[i], type)) return;
  }
  std::copy(corrected.begin(), corrected.end(), restored);
}

}  // namespace natrix
