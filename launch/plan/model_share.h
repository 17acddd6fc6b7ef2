// What a rank of an ep group holds of a model:
// bytes, and the stretches of gradients that are summed together.
#pragma once

#include <cstdint>
#include <vector>

#include "configs/schema/model.h"

namespace natrix {

/// Gradients that lie side by side and are summed over the same ranks (distributed/grad_sync.cpp).
struct GradientStretch {
  bool spread = false;  // experts that other ranks do not hold
  int64_t bytes = 0;
};

struct ModelShare {
  int64_t weight_bytes = 0;     // in fp32, and as many of gradients
  int64_t rounded_bytes = 0;    // of copies in bf16, where activations are bf16
  int64_t optimizer_bytes = 0;  // both moments
  std::vector<GradientStretch> gradients;
};

/// For the ranks of an ep group, in order; only the first where all are alike.
std::vector<ModelShare> model_shares(const ModelConfig& config, int ep);

}  // namespace natrix
