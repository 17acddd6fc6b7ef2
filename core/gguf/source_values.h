// What lets a tensor return from a GGUF file with the very bits it had in Hugging Face.
//
// Some rules round: A = -exp(A_log), and products with Falcon-H1's multipliers. The reverse, log(-A) and a
// division, then gives a value that may differ in the last bits. For a file that loses nothing else (F32, or
// BF16 made from BF16) natrix writes the differences into the metadata:
//
//   natrix.ulps.NAME     two bits an element, the first in the lowest: 0 nothing, 1 one unit up, 2 one unit down,
//                        in units of the last place of the source's dtype
//   natrix.source.NAME   where that does not reach: the tensor's bytes in the source's dtype
//
// NAME is the tensor's in Hugging Face. A tensor that the reverse restores has neither. A reader checks that the
// corrected values do give what the file holds: another program may have changed the tensor since.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/gguf/gguf_file.h"
#include "core/gguf/tensor_rule.h"

namespace natrix {

constexpr const char* kUlpsKey = "natrix.ulps.";
constexpr const char* kSourceKey = "natrix.source.";

struct SourceCorrection {
  std::string key;    // without NAME
  std::string bytes;  // an array of u8
};

/// `source`: contiguous, F32, BF16 or F16. `restored`: what the reverse of the rule makes of the stored values.
/// Nothing if they are equal.
std::optional<SourceCorrection> correction_for(View source, const float* restored);

/// Corrects `restored`, the values that the reverse of the rule made of `stored`, of type `type`. Leaves them
/// where the file has no correction or one that does not fit. `dtype`: of the source.
void apply_correction(const GgufFile& file, const std::string& name, const TensorRule& rule, Dtype dtype,
                      const Shape& shape, GgufType type, const float* stored, float* restored);

}  // namespace natrix
