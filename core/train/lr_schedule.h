// The learning rate of a step, counted from 0.
//
//   warm-up    lr · (step + 1) / warmup_steps                       for step < warmup_steps
//   cosine     min_lr + (lr − min_lr) · (1 + cos(π · progress)) / 2
//              with progress = (step − warmup_steps) / (steps − warmup_steps)
//
//   wsd        lr, then linearly down to min_lr over the last decay_steps steps
//              (warm-up, stable, decay: arXiv 2404.06395)
//
//   constant   lr
#pragma once

#include <cstdint>

#include "configs/schema/experiment.h"

namespace natrix {

double learning_rate(const OptimizerConfig& config, int64_t steps, int64_t step);

}  // namespace natrix
