// A layer kind that exists only in tests: a learned exponential average of its input, one decay a channel.
//
//   a   = σ(w)                        [D], the only parameter
//   h_t = a ⊙ h_{t−1} + x_t           h is 0 before a document's first token
//   y_t = h_t
//
// It shows what a new layer takes: this file, and one row in the table of layer kinds (toy_kinds()).
#pragma once

#include "launch/layer_kinds.h"

namespace natrix::test {

/// Letter T: the layer. Letter P: the same, with the token's position within its document added to h.
LayerKinds toy_kinds();

}  // namespace natrix::test
