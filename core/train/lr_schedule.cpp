#include "core/train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace natrix {

double learning_rate(const OptimizerConfig& c, int64_t steps, int64_t step) {
  if (step < c.warmup_steps)
    return c.lr * static_cast<double>(step + 1) / static_cast<double>(c.warmup_steps);
  switch (c.schedule) {
    case LrSchedule::kConstant: return c.lr;
    case LrSchedule::kCosine: {
      const auto span = static_cast<double>(std::max<int64_t>(steps - c.warmup_steps, 1));
      const double progress = static_cast<double>(step - c.warmup_steps) / span;
      return c.min_lr + (c.lr - c.min_lr) * (1 + std::cos(std::numbers::pi * progress)) / 2;
    }
    case LrSchedule::kWsd: {
      const int64_t decay = c.decay_steps > 0 ? c.decay_steps : std::max<int64_t>(steps / 5, 1);
      const int64_t into = std::max<int64_t>(step - (steps - decay), 0);
      return c.lr + (c.min_lr - c.lr) * static_cast<double>(into) / static_cast<double>(decay);
    }
  }
  return c.lr;
}

}  // namespace natrix
