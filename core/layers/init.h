// Initialisation of fresh parameters, as the papers do it (state-spaces/mamba's code for the mixer; its
// residual rule from GPT-2).
//
//   A_log            log(1 … N) in every channel (S4D-real)
//   D, norms         1
//   dt_proj.bias     softplus⁻¹(dt), dt log-uniform in [1e-3, 1e-1], at least 1e-4
//   embedding        N(0, 0.02)
//   other matrices, the convolution and its bias   U(±fan_in^−1/2), that is Kaiming-uniform with a = √5
//   out_proj, down   the same divided by √(number of residual additions)
//
// Every tensor draws from a generator of its own, seeded by (seed, name):
// adding a layer does not change the others.
#pragma once

#include <cstdint>
#include <vector>

#include "core/layers/param.h"

namespace natrix {

/// residual_additions: sublayers in the stack.
void initialise(const std::vector<Param*>& params, uint64_t seed, int64_t residual_additions);

}  // namespace natrix
