// A row of activations as int8 weights meet it.
#pragma once

#include <cstdint>

namespace natrix::cpu {

/// round_activations of every block of x [K]: integers [K], and a step for each block of 64, bit for bit.
void round_row(const float* x, int64_t K, float* steps, int16_t* integers);

}  // namespace natrix::cpu
