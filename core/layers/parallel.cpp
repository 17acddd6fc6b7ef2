#include "core/layers/parallel.h"

#include <algorithm>
#include <ranges>

#include "kernels/activation.h"

namespace natrix {

View Parallel::forward(Pass& p, View x) const {
  View sum;
  for (const auto& mixer : mixers_) {
    const View y = mixer->forward(p, x);
    if (sum) {
      accumulate(p.ctx, {.x = y, .y = sum});
    } else {
      sum = y;
    }
  }
  return sum;
}

View Parallel::backward(Pass& p, View dy) {
  View sum;
  for (const auto& mixer : mixers_ | std::views::reverse) {  // what forward pushed last is popped first
    const View dx = mixer->backward(p, dy);
    if (sum) {
      accumulate(p.ctx, {.x = dx, .y = sum});
    } else {
      sum = dx;
    }
  }
  return sum;
}

bool Parallel::runs_ahead(int64_t tokens) const {
  return std::ranges::all_of(mixers_, [&](const auto& mixer) { return mixer->runs_ahead(tokens); });
}

bool Parallel::leaves_behind(Visit visit) const {
  return std::ranges::any_of(mixers_, [&](const auto& mixer) { return mixer->leaves_behind(visit); });
}

void Parallel::pass_over(Pass& p, View x) const {
  for (const auto& mixer : mixers_) mixer->pass_over(p, x);
}

void Parallel::visit(const ParamVisitor& visitor) {
  for (const auto& mixer : mixers_) mixer->visit(visitor);
}

std::vector<CarrySpec> Parallel::carries() const {
  std::vector<CarrySpec> all;
  for (const auto& mixer : mixers_) std::ranges::copy(mixer->carries(), std::back_inserter(all));
  return all;
}

bool Parallel::uses_position() const {
  return std::ranges::any_of(mixers_, [](const auto& mixer) { return mixer->uses_position(); });
}

}  // namespace natrix
