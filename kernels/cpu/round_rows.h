// Rounds a row of activations for int8 weights.
#pragma once

#include <cstdint>

namespace natrix::cpu {

/// round_activations for every block of x [K]: integers [K], and a step for each block of 64. The same bits.
void round_row(const float* x, int64_t K, float* steps, int16_t* integers);

}  // namespace natrix::cpu
