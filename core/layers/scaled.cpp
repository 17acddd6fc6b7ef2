#include "core/layers/scaled.h"

#include "kernels/scale.h"

namespace natrix {

View scaled(Pass& p, View x, double factor) {
  if (factor == 1) return x;
  View y = p.arena().like(x);
  scale(p.ctx, {.x = x, .factor = factor, .y = y});
  return y;
}

void scale_in_place(Pass& p, View x, double factor) {
  if (factor != 1) scale(p.ctx, {.x = x, .factor = factor, .y = x});
}

std::unique_ptr<Layer> with_factors(std::unique_ptr<Layer> layer, double in, double out) {
  if (in == 1 && out == 1) return layer;
  return std::make_unique<Scaled>(std::move(layer), in, out);
}

}  // namespace natrix
