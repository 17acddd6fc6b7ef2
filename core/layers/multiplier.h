// Multipliers of a model (Granite, Falcon-H1). A multiplier of 1 costs nothing and changes no bit.
#pragma once

#include "core/layers/layer.h"
#include "kernels/activation.h"

namespace natrix {

/// v *= multiplier, in place.
inline void multiply_by(Pass& p, View v, double multiplier) {
  if (multiplier != 1) scale(p.ctx, {.x = v, .factor = multiplier, .y = v});
}

/// multiplier · v: v itself, or a copy in the arena.
inline View times(Pass& p, View v, double multiplier) {
  if (multiplier == 1) return v;
  View scaled = p.arena().like(v);
  scale(p.ctx, {.x = v, .factor = multiplier, .y = scaled});
  return scaled;
}

}  // namespace natrix
