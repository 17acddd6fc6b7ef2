// The learning rate of a step, counted from 0.
//
//   warm-up    lr · (step + 1) / warmup_steps                       for step < warmup_steps
//   cosine     min_lr + (lr − min_lr) · (1 + cos(π · progress)) / 2,   progress = (step − warmup) / (steps −
//   warmup) wsd        lr, then over the last decay_steps linearly down to min_lr (warm-up, stable, decay:
//   arXiv 2404.06395) constant   lr
#pragma once

#include <cstdint>

#include "configs/schema/experiment.h"

namespace natrix {

double learning_rate(const OptimizerConfig& config, int64_t steps, int64_t step);

}  // namespace natrix
