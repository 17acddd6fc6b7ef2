// Initialises fresh parameters. The rules are those of state-spaces/mamba's code for the mixer, with GPT-2's
// rule for projections into the residual stream.
//
//   A_log            log(1 … N) in every channel (S4D-real)
//   D, norms         1
//   dt_proj.bias     softplus⁻¹(dt), dt log-uniform in [1e-3, 1e-1], at least 1e-4
//   embedding        N(0, 0.02)
//   other matrices, the convolution and its bias   U(±fan_in^−1/2), that is Kaiming-uniform with a = √5
//   out_proj, down   the same divided by √(number of residual additions)
//
// Each tensor has its own generator, seeded by (seed, name), so adding a layer does not change the others.
#pragma once

#include <cstdint>
#include <vector>

#include "core/layers/param.h"

namespace natrix {

/// residual_additions: the number of sublayers in the stack.
void initialise(const std::vector<Param*>& params, uint64_t seed, int64_t residual_additions);

}  // namespace natrix
