#include "core/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "kernels/optim.h"

namespace natrix {

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<Param*> params) : config_(config) {
  for (Param* p : params) {
    if (!p->trainable) continue;
    slots_.push_back({p, Buffer(p->value.dtype, p->shape), Buffer(p->value.dtype, p->shape)});
  }
}

double Optimizer::gradient_norm(Context& ctx) const {
  double total = 0;
  for (const Slot& s : slots_) {
    double sum = 0;
    squared_norm(ctx, {.x = s.param->grad, .sum = &sum});
    total += sum;
  }
  return std::sqrt(total);
}

void Optimizer::update(Context& ctx, double lr, double gradient_norm, int64_t step) {
  // The epsilon is PyTorch's clip_grad_norm_'s.
  const double scale =
      config_.clip_grad_norm > 0 ? std::min(1.0, config_.clip_grad_norm / (gradient_norm + 1e-6)) : 1.0;
  for (Slot& s : slots_) {
    const auto flat = [](View v) { return v.reshaped({v.count()}); };
    adamw(ctx, {.w = flat(s.param->value),
                .g = flat(s.param->grad),
                .m = flat(s.m.view()),
                .v = flat(s.v.view()),
                .lr = lr,
                .beta1 = config_.beta1,
                .beta2 = config_.beta2,
                .eps = config_.eps,
                .weight_decay = s.param->decays ? config_.weight_decay : 0.0,
                .grad_scale = scale,
                .step = step});
  }
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> tensors;
  for (const Slot& s : slots_) {
    tensors.push_back({"m." + s.param->name, s.m.view()});
    tensors.push_back({"v." + s.param->name, s.v.view()});
  }
  return tensors;
}

void Optimizer::load_state(const Safetensors& file) {
  for (const NamedTensor& t : state()) {
    View stored = file.at(t.name);
    if (stored.dtype != t.view.dtype || !(stored.shape == t.view.shape)) {
      throw InputError(fmt::format("{}: tensor {} is {}; this model's optimizer needs {}", file.path(),
                                   t.name, stored.to_string(), t.view.to_string()));
    }
    copy(stored, t.view);
  }
}

int64_t Optimizer::bytes() const {
  int64_t n = 0;
  for (const Slot& s : slots_) n += s.m.bytes() + s.v.bytes();
  return n;
}

}  // namespace natrix
