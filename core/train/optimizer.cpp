#include "core/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "kernels/base/transfer.h"
#include "kernels/optim.h"

namespace natrix {
namespace {

void load_moment(const Safetensors& file, const std::string& name, const Param& param, View to) {
  View stored = file.at(name);
  const Shape whole = whole_shape(param);
  if (stored.dtype != to.dtype || !(stored.shape == whole)) {
    throw InputError(fmt::format("{}: tensor {} is {}; this model's optimizer needs {}{}", file.path(), name,
                                 stored.to_string(), name_of(to.dtype), whole.to_string()));
  }
  const int64_t first = param.spread_of > 0 ? param.spread_first * (to.count() / param.shape[0]) : 0;
  copy(View(static_cast<char*>(stored.data) + first * size_of(to.dtype), to.dtype, to.shape), to);
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<Param*> params) : config_(config) {
  for (Param* p : params) {
    if (!p->trainable) continue;
    const auto moment = [p] { return Buffer(p->value.dtype, p->shape, memory_of(p->value.data)); };
    slots_.push_back({p, moment(), moment()});
  }
}

double Optimizer::gradient_norm(Context& ctx, RankGroup& group) const {
  Arena::Frame frame(ctx.arena());
  const auto count = static_cast<int64_t>(slots_.size());
  const View sums = ctx.arena().take(Dtype::kF64, {count, 1});
  for (int64_t i = 0; i < count; ++i) {
    squared_norm(ctx, {.x = slots_[static_cast<size_t>(i)].param->grad,
                       .sum = sums.row_range(i, 1).reshaped({1})});
  }
  const OnHost squares(ctx, sums);
  double everywhere = 0, spread = 0;
  for (size_t i = 0; i < slots_.size(); ++i) {
    (slots_[i].param->spread_of > 0 ? spread : everywhere) += squares.view().as<double>()[i];
  }
  return std::sqrt(everywhere + group.sum_over_owners(ctx, spread));
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
                .rounded = s.param->rounded ? flat(s.param->rounded) : View{},
                .lr = lr,
                .beta1 = config_.beta1,
                .beta2 = config_.beta2,
                .eps = config_.eps,
                .weight_decay = s.param->decays ? config_.weight_decay : 0.0,
                .grad_scale = scale,
                .step = step});
  }
}

Optimizer::State Optimizer::state(Context& ctx, RankGroup& group) const {
  State state;
  for (const Slot& s : slots_) {
    for (const auto& [prefix, moment] : {std::pair("m.", &s.m), std::pair("v.", &s.v)}) {
      View all = moment->view();
      if (s.param->spread_of > 0) {
        state.gathered.push_back(group.whole(ctx, *s.param, all));
        all = state.gathered.back().view();
      }
      if (group.rank() == 0) state.tensors.push_back({prefix + s.param->name, all});
    }
  }
  return state;
}

void Optimizer::load_state(const Safetensors& file) {
  for (Slot& s : slots_) {
    load_moment(file, "m." + s.param->name, *s.param, s.m.view());
    load_moment(file, "v." + s.param->name, *s.param, s.v.view());
  }
}

int64_t Optimizer::bytes() const {
  int64_t n = 0;
  for (const Slot& s : slots_) n += s.m.bytes() + s.v.bytes();
  return n;
}

}  // namespace natrix
