// The types of a GGUF file: of metadata values, and of tensors.
//
// A tensor's row is a whole number of blocks. A block of F32, F16 or BF16 is one element; the quantised types
// pack 32 or 256 elements (quantized_blocks.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace natrix {

/// Numbered as in the file.
enum class GgufValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kArray,
  kU64,
  kI64,
  kF64
};

/// Bytes of one value; 0 for texts and arrays, whose sizes vary, and for numbers that name no type.
int64_t size_of(GgufValueType type);
/// "u32", "text", …; "type 77" for a number that names no type.
std::string name_of(GgufValueType type);

/// The tensor types that natrix reads, numbered as in the file.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30
};

struct GgufTypeTraits {
  GgufType type;
  std::string_view name;
  int64_t block;        // elements
  int64_t block_bytes;  // of one block
};

constexpr std::array<GgufTypeTraits, 11> kGgufTypes = {{{GgufType::kF32, "F32", 1, 4},
                                                        {GgufType::kF16, "F16", 1, 2},
                                                        {GgufType::kBF16, "BF16", 1, 2},
                                                        {GgufType::kQ8_0, "Q8_0", 32, 34},
                                                        {GgufType::kQ4_0, "Q4_0", 32, 18},
                                                        {GgufType::kQ4_1, "Q4_1", 32, 20},
                                                        {GgufType::kQ5_0, "Q5_0", 32, 22},
                                                        {GgufType::kQ5_1, "Q5_1", 32, 24},
                                                        {GgufType::kQ4_K, "Q4_K", 256, 144},
                                                        {GgufType::kQ5_K, "Q5_K", 256, 176},
                                                        {GgufType::kQ6_K, "Q6_K", 256, 210}}};

/// Null for a number of a type that natrix does not read.
const GgufTypeTraits* find_gguf_type(uint32_t number);
const GgufTypeTraits& traits_of(GgufType type);

}  // namespace natrix
