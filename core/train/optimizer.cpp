#include "core/train/optimizer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "core/files/json.h"
#include "kernels/activation.h"
#include "kernels/base/transfer.h"
#include "kernels/optim.h"

namespace natrix {
namespace {

/// Elements [first, first + count) of flat elements.
View stretch(View v, int64_t first, int64_t count) {
  return View(static_cast<char*>(v.data) + first * size_of(v.dtype), v.dtype, {count});
}

/// The index in the whole parameter of this rank's first element.
int64_t spread_offset(const Param& p) {
  return p.spread_of > 0 ? p.spread_first * (p.shape.count() / p.shape[0]) : 0;
}

[[noreturn]] void refuse(const StoredTensors& file, const std::string& name, const std::string& found,
                         Dtype dtype, const Param& param) {
  throw InputError(fmt::format("{}: tensor {} is {}; this model's optimizer needs {}{}", file.path(),
                               excerpt(name), found, name_of(dtype), whole_shape(param).to_string()));
}

/// Reads elements [first, first + to.count()) of a moment that was written in shards.
void load_stretches(const StoredTensors& file, const std::string& name, const Param& param, int64_t first,
                    View to) {
  int64_t found = 0;
  const std::string prefix = name + "@";
  for (auto at = file.tensors().lower_bound(prefix); at != file.tensors().end(); ++at) {
    const auto& [part, tensor] = *at;
    if (!part.starts_with(prefix)) break;
    int64_t begin = 0;
    const char* end = part.data() + part.size();
    const auto [stop, error] = std::from_chars(part.data() + prefix.size(), end, begin);
    const View v = tensor.view;
    if (error != std::errc() || stop != end || begin < 0 || v.dtype != to.dtype || v.shape.rank() != 1 ||
        begin > whole_shape(param).count() - v.count()) {
      refuse(file, part, v.to_string(), to.dtype, param);
    }
    const int64_t from = std::max(begin, first), until = std::min(begin + v.count(), first + to.count());
    if (from >= until) continue;
    copy(stretch(v, from - begin, until - from), stretch(to, from - first, until - from));
    found += until - from;
  }
  if (found != to.count()) refuse(file, name, "not there, or not all of it", to.dtype, param);
}

/// `first`: index of an element in this rank's part of the parameter.
void load_moment(const StoredTensors& file, const std::string& name, const Param& param, int64_t first,
                 View to) {
  first += spread_offset(param);
  if (!file.contains(name)) return load_stretches(file, name, param, first, to);
  const View stored = file.at(name).view;
  if (stored.dtype != to.dtype || !(stored.shape == whole_shape(param))) {
    refuse(file, name, stored.to_string(), to.dtype, param);
  }
  copy(stretch(stored, first, to.count()), to);
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<Param*> params, GradientSync& gradients)
    : config_(config), params_(std::move(params)), gradients_(gradients) {
  for (const View& owned : gradients_.owned(params_)) {
    const auto moment = [&] {
      return moments_.emplace_back(owned.dtype, owned.shape, memory_of(owned.data)).view();
    };
    const View m = moment(), v = moment();
    const auto* begin = static_cast<const char*>(owned.data);
    for (Param* p : params_) {
      if (!p->grad) continue;
      // The bytes of the span that belong to this parameter.
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
  return std::sqrt(gradients_.norm(ctx, everywhere, spread));
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
  gradients_.share_values(ctx, params_);
  if (!gradients_.shards_updates()) return;
  for (const Param* p : params_) {
    if (p->rounded) cast(ctx, {.from = p->value, .to = p->rounded});
  }
}

std::vector<NamedTensor> Optimizer::state(const std::vector<Param*>& written) const {
  std::vector<NamedTensor> tensors;
  for (const Slot& s : slots_) {
    const bool mine =
        gradients_.shards_updates() || std::find(written.begin(), written.end(), s.param) != written.end();
    if (!mine) continue;
    const Shape whole = whole_shape(*s.param);
    const bool all = s.m.count() == whole.count();
    const std::string name =
        s.param->name + (all ? "" : fmt::format("@{}", spread_offset(*s.param) + s.first));
    for (const auto& [prefix, moment] : {std::pair("m.", s.m), std::pair("v.", s.v)}) {
      tensors.push_back({prefix + name, all ? moment.reshaped(whole) : moment});
    }
  }
  return tensors;
}

void Optimizer::load_state(const StoredTensors& stored) {
  for (Slot& s : slots_) {
    load_moment(stored, "m." + s.param->name, *s.param, s.first, s.m);
    load_moment(stored, "v." + s.param->name, *s.param, s.first, s.v);
  }
}

int64_t Optimizer::bytes() const {
  int64_t n = 0;
  for (const Buffer& b : moments_) n += b.bytes();
  return n;
}

}  // namespace natrix
