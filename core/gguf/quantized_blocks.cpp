#include "core/gguf/quantized_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/files/half_float.h"
#include "core/gguf/q4_k_search.h"
#include "kernels/base/bfloat16.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int kSmall = 32;  // elements of a block of Q8_0, Q4_0, …

// Blocks are copied out of the file before they are read, because the file need not align them. Their members
// have no padding.

struct BlockQ8_0 {
  uint16_t d;
  int8_t q[kSmall];
  void expand(float* y) const {
    const float scale = half_to_float(d);
    for (int i = 0; i < kSmall; ++i) y[i] = static_cast<float>(q[i]) * scale;
  }
};

/// The first sixteen elements are in the low halves of the bytes, the others in the high halves.
struct BlockQ4_0 {
  uint16_t d;
  uint8_t q[kSmall / 2];
  void expand(float* y) const {
    const float scale = half_to_float(d);
    for (int i = 0; i < kSmall / 2; ++i) {
      y[i] = static_cast<float>((q[i] & 15) - 8) * scale;
      y[i + kSmall / 2] = static_cast<float>((q[i] >> 4) - 8) * scale;
    }
  }
};

struct BlockQ4_1 {
  uint16_t d, m;
  uint8_t q[kSmall / 2];
  void expand(float* y) const {
    const float scale = half_to_float(d), offset = half_to_float(m);
    for (int i = 0; i < kSmall / 2; ++i) {
      y[i] = static_cast<float>(q[i] & 15) * scale + offset;
      y[i + kSmall / 2] = static_cast<float>(q[i] >> 4) * scale + offset;
    }
  }
};

/// Bit i of `high` is the fifth bit of element i.
int fifth_bit(const uint8_t (&high)[4], int i) {
  return high[i / 8] >> (i % 8) & 1;
}

struct BlockQ5_0 {
  uint16_t d;
  uint8_t high[4];
  uint8_t q[kSmall / 2];
  void expand(float* y) const {
    const float scale = half_to_float(d);
    for (int i = 0; i < kSmall / 2; ++i) {
      const int j = i + kSmall / 2;
      y[i] = static_cast<float>(((q[i] & 15) | fifth_bit(high, i) << 4) - 16) * scale;
      y[j] = static_cast<float>((q[i] >> 4 | fifth_bit(high, j) << 4) - 16) * scale;
    }
  }
};

struct BlockQ5_1 {
  uint16_t d, m;
  uint8_t high[4];
  uint8_t q[kSmall / 2];
  void expand(float* y) const {
    const float scale = half_to_float(d), offset = half_to_float(m);
    for (int i = 0; i < kSmall / 2; ++i) {
      const int j = i + kSmall / 2;
      y[i] = static_cast<float>((q[i] & 15) | fifth_bit(high, i) << 4) * scale + offset;
      y[j] = static_cast<float>(q[i] >> 4 | fifth_bit(high, j) << 4) * scale + offset;
    }
  }
};

/// Sixty-four elements are in 32 bytes: the first 32 in the low halves, the others in the high halves.
struct BlockQ4_K {
  uint16_t d, m;
  uint8_t scales[12];
  uint8_t q[kLarge / 2];
  void expand(float* y) const {
    const float scale = half_to_float(d), offset = half_to_float(m);
    for (int j = 0; j < kLarge / 32; ++j) {
      const ScaleAndOffset s = unpack_scale(scales, j);
      const float step = scale * static_cast<float>(s.scale), least = offset * static_cast<float>(s.offset);
      const uint8_t* bytes = q + j / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int value = j % 2 == 0 ? bytes[i] & 15 : bytes[i] >> 4;
        y[32 * j + i] = step * static_cast<float>(value) - least;
      }
    }
  }
};

/// As Q4_K; bit j of high[i] is the fifth bit of element 32 j + i.
struct BlockQ5_K {
  uint16_t d, m;
  uint8_t scales[12];
  uint8_t high[kLarge / 8];
  uint8_t q[kLarge / 2];
  void expand(float* y) const {
    const float scale = half_to_float(d), offset = half_to_float(m);
    for (int j = 0; j < kLarge / 32; ++j) {
      const ScaleAndOffset s = unpack_scale(scales, j);
      const float step = scale * static_cast<float>(s.scale), least = offset * static_cast<float>(s.offset);
      const uint8_t* bytes = q + j / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int low = j % 2 == 0 ? bytes[i] & 15 : bytes[i] >> 4;
        y[32 * j + i] = step * static_cast<float>(low | (high[i] >> j & 1) << 4) - least;
      }
    }
  }
};

/// Each half of 128 elements has 64 bytes of low bits and 32 of high bits. Its element 32 k + i, k < 4, has its
/// low four bits in byte 32 (k % 2) + i, in the half k / 2 of it, and its high two bits in bits 2 k of byte i.
struct BlockQ6_K {
  uint8_t low[kLarge / 2];
  uint8_t high[kLarge / 4];
  int8_t scales[kLarge / 16];
  uint16_t d;
  void expand(float* y) const {
    const float scale = half_to_float(d);
    for (int e = 0; e < kLarge; ++e) {
      const int half = e / 128, k = e % 128 / 32, i = e % 32;
      const int four = low[64 * half + 32 * (k % 2) + i] >> (4 * (k / 2)) & 15;
      const int two = high[32 * half + i] >> (2 * k) & 3;
      y[e] = scale * static_cast<float>(scales[e / 16]) * static_cast<float>((four | two << 4) - 32);
    }
  }
};

template <class Block, int kElements>
void expand_all(const void* from, int64_t count, float* to) {
  const char* bytes = static_cast<const char*>(from);
  for (int64_t b = 0; b < count / kElements; ++b) {
    Block block;
    std::memcpy(&block, bytes + b * static_cast<int64_t>(sizeof block), sizeof block);
    block.expand(to + b * kElements);
  }
}

template <class F>
void expand_halves(const void* from, int64_t count, float* to, F&& value_of) {
  const char* bytes = static_cast<const char*>(from);
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, bytes + 2 * i, sizeof bits);
    to[i] = value_of(bits);
  }
}

/// NaN becomes the least.
int8_t seven_bits(float q) {
  return static_cast<int8_t>(q < 127 ? (q > -127 ? std::nearbyint(q) : -127) : (q >= 127 ? 127 : -127));
}

BlockQ8_0 pack_q8_0(const float* x) {
  float largest = 0;
  for (int i = 0; i < kSmall; ++i) largest = std::max(largest, std::fabs(x[i]));
  BlockQ8_0 block = {.d = float_to_half(largest / 127), .q = {}};
  const float scale = half_to_float(block.d);  // as the reader will see it
  for (int i = 0; i < kSmall && scale > 0; ++i) block.q[i] = seven_bits(x[i] / scale);
  return block;
}

BlockQ4_K pack_q4_k(const float* x) {
  const Q4KFit fit = fit_q4_k(x);
  BlockQ4_K block = {.d = fit.d, .m = fit.m, .scales = {}, .q = {}};
  for (int j = 0; j < kLarge / 32; ++j) pack_scale(fit.parts[static_cast<size_t>(j)], j, block.scales);
  for (int e = 0; e < kLarge; ++e) {
    const int j = e / 32, shift = j % 2 == 0 ? 0 : 4;
    block.q[j / 2 * 32 + e % 32] |= static_cast<uint8_t>(fit.q[static_cast<size_t>(e)] << shift);
  }
  return block;
}

template <int kElements, class Pack>
void pack_all(const float* from, int64_t count, void* to, Pack&& pack) {
  char* bytes = static_cast<char*>(to);
  for (int64_t b = 0; b < count / kElements; ++b) {
    const auto block = pack(from + b * kElements);
    std::memcpy(bytes + b * static_cast<int64_t>(sizeof block), &block, sizeof block);
  }
}

static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 &&
              sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24 && sizeof(BlockQ4_K) == 144 &&
              sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

}  // namespace

void expand_blocks(GgufType type, const void* from, int64_t count, float* to) {
  require(count % traits_of(type).block == 0, "a part of a block is expanded");
  switch (type) {
    case GgufType::kF32: std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float)); return;
    case GgufType::kF16: return expand_halves(from, count, to, half_to_float);
    case GgufType::kBF16:
      return expand_halves(from, count, to,
                           [](uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); });
    case GgufType::kQ8_0: return expand_all<BlockQ8_0, kSmall>(from, count, to);
    case GgufType::kQ4_0: return expand_all<BlockQ4_0, kSmall>(from, count, to);
    case GgufType::kQ4_1: return expand_all<BlockQ4_1, kSmall>(from, count, to);
    case GgufType::kQ5_0: return expand_all<BlockQ5_0, kSmall>(from, count, to);
    case GgufType::kQ5_1: return expand_all<BlockQ5_1, kSmall>(from, count, to);
    case GgufType::kQ4_K: return expand_all<BlockQ4_K, kLarge>(from, count, to);
    case GgufType::kQ5_K: return expand_all<BlockQ5_K, kLarge>(from, count, to);
    case GgufType::kQ6_K: return expand_all<BlockQ6_K, kLarge>(from, count, to);
  }
  require(false, "a tensor type outside the table");
}

bool packs(GgufType type) {
  return type == GgufType::kF32 || type == GgufType::kF16 || type == GgufType::kBF16 ||
         type == GgufType::kQ8_0 || type == GgufType::kQ4_K;
}

void pack_blocks(GgufType type, const float* from, int64_t count, void* to) {
  require(packs(type) && count % traits_of(type).block == 0,
          "a part of a block, or a type that is not packed");
  switch (type) {
    case GgufType::kF16:
      return pack_all<1>(from, count, to, [](const float* x) { return float_to_half(*x); });
    case GgufType::kBF16: return pack_all<1>(from, count, to, [](const float* x) { return BFloat16(*x); });
    case GgufType::kQ8_0: return pack_all<kSmall>(from, count, to, pack_q8_0);
    case GgufType::kQ4_K: return pack_all<kLarge>(from, count, to, pack_q4_k);
    default: std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
  }
}

}  // namespace natrix
