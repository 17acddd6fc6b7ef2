#include "core/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "kernels/activation.h"
#include "kernels/base/transfer.h"
#include "kernels/optim.h"

namespace natrix {
namespace {

/// Elements [first, first + count) of flat elements.
View stretch(View v, int64_t first, int64_t count) {
  return View(static_cast<char*>(v.data) + first * size_of(v.dtype), v.dtype, {count});
}

/// Of the stored whole tensor, what begins at an element of this rank's parameter.
void load_moment(const Safetensors& file, const std::string& name, const Param& param, int64_t first,
                 View to) {
  View stored = file.at(name);
  const Shape whole = whole_shape(param);
  if (stored.dtype != to.dtype || !(stored.shape == whole)) {
    throw InputError(fmt::format("{}: tensor {} is {}; this model's optimizer needs {}{}", file.path(), name,
                                 stored.to_string(), name_of(to.dtype), whole.to_string()));
  }
  if (param.spread_of > 0) first += param.spread_first * (param.shape.count() / param.shape[0]);
  copy(stretch(stored, first, to.count()), to);
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<Param*> params, RankGroup& group)
    : config_(config), params_(std::move(params)), group_(group) {
  for (const View& owned : group_.owned_gradients(params_)) {
    const auto moment = [&] {
      return moments_.emplace_back(owned.dtype, owned.shape, memory_of(owned.data)).view();
    };
    const View m = moment(), v = moment();
    const auto* begin = static_cast<const char*>(owned.data);
    for (Param* p : params_) {
      if (!p->grad) continue;
      // Bytes of the stretch that are this parameter's.
      const std::ptrdiff_t at = static_cast<const char*>(p->grad.data) - begin;
      const std::ptrdiff_t from = std::max<std::ptrdiff_t>(at, 0),
                           to = std::min(at + p->grad.bytes(), owned.bytes());
      if (from >= to) continue;
      const int64_t size = size_of(owned.dtype), first = (from - at) / size, count = (to - from) / size;
      const auto of_moment = [&](View all) { return stretch(all, from / size, count); };
      slots_.push_back({.param = p,
                        .first = first,
                        .value = stretch(p->value, first, count),
                        .grad = stretch(p->grad, first, count),
                        .m = of_moment(m),
                        .v = of_moment(v),
                        .rounded = p->rounded ? stretch(p->rounded, first, count) : View{}});
    }
  }
}

double Optimizer::gradient_norm(Context& ctx) const {
  Arena::Frame frame(ctx.arena());
  const auto count = static_cast<int64_t>(slots_.size());
  const View sums = ctx.arena().take(Dtype::kF64, {count, 1});
  for (int64_t i = 0; i < count; ++i) {
    squared_norm(ctx, {.x = slots_[static_cast<size_t>(i)].grad, .sum = sums.row_range(i, 1).reshaped({1})});
  }
  const OnHost squares(ctx, sums);
  double everywhere = 0, spread = 0;
  for (size_t i = 0; i < slots_.size(); ++i) {
    (slots_[i].param->spread_of > 0 ? spread : everywhere) += squares.view().as<double>()[i];
  }
  return std::sqrt(group_.sum_over_owners(ctx, everywhere, spread));
}

void Optimizer::update(Context& ctx, double lr, double gradient_norm, int64_t step) {
  // The epsilon is PyTorch's clip_grad_norm_'s.
  const double scale =
      config_.clip_grad_norm > 0 ? std::min(1.0, config_.clip_grad_norm / (gradient_norm + 1e-6)) : 1.0;
  for (Slot& s : slots_) {
    adamw(ctx, {.w = s.value,
                .g = s.grad,
                .m = s.m,
                .v = s.v,
                .rounded = s.rounded,
                .lr = lr,
                .beta1 = config_.beta1,
                .beta2 = config_.beta2,
                .eps = config_.eps,
                .weight_decay = s.param->decays ? config_.weight_decay : 0.0,
                .grad_scale = scale,
                .step = step});
  }
  group_.share_values(ctx, params_);
  if (!group_.shares_updates()) return;
  for (const Param* p : params_) {
    if (p->rounded) cast(ctx, {.from = p->value, .to = p->rounded});
  }
}

/// A parameter's moment, of its shape: where it lies, or, if ranks share it out, put together.
View Optimizer::moment_of(Context& ctx, const Param& param, View Slot::*moment, Buffer& made) const {
  if (group_.shares_updates()) {
    made = Buffer(param.value.dtype, Shape{param.shape.count()}, memory_of(param.value.data));
  }
  for (const Slot& s : slots_) {
    if (s.param != &param) continue;
    if (!made) return (s.*moment).reshaped(param.shape);
    copy(s.*moment, stretch(made.view(), s.first, s.grad.count()));
  }
  group_.complete(ctx, param, made.view());
  return made.view().reshaped(param.shape);
}

Optimizer::State Optimizer::state(Context& ctx) const {
  State state;
  for (const Param* p : params_) {
    if (!p->trainable) continue;
    for (const auto& [prefix, moment] : {std::pair("m.", &Slot::m), std::pair("v.", &Slot::v)}) {
      Buffer made;
      View all = moment_of(ctx, *p, moment, made);
      if (p->spread_of > 0) {
        made = group_.whole(ctx, *p, all);
        all = made.view();
      }
      if (group_.rank() != 0) continue;
      if (made) state.gathered.push_back(std::move(made));
      state.tensors.push_back({prefix + p->name, all});
    }
  }
  return state;
}

void Optimizer::load_state(const Safetensors& file) {
  for (Slot& s : slots_) {
    load_moment(file, "m." + s.param->name, *s.param, s.first, s.m);
    load_moment(file, "v." + s.param->name, *s.param, s.first, s.v);
  }
}

int64_t Optimizer::bytes() const {
  int64_t n = 0;
  for (const Buffer& b : moments_) n += b.bytes();
  return n;
}

}  // namespace natrix
