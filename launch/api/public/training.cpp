#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "core/carry/carry_spec.h"
#include "core/ranks/gradient_sync.h"
#include "core/train/optimizer.h"
#include "kernels/base/transfer.h"
#include "kernels/loss.h"
#include "launch/api/public/guarded.h"
#include "launch/api/public/model_impl.h"
#include "launch/api/token_gradients.h"
#include "launch/api/token_rows.h"

namespace natrix {
namespace {

std::vector<int64_t> extents_of(const Shape& shape) {
  std::vector<int64_t> extents;
  for (int i = 0; i < shape.rank(); ++i) extents.push_back(shape[i]);
  return extents;
}

/// Copies a caller's states of `rows` rows to `memory`. States that were not given are zero.
CarryStates states_from(const Model& model, Memory memory, const char* what, const FloatTensors& from,
                        int64_t rows) {
  CarryStates states;
  for (const FloatTensor& t : from) {
    const CarryList carries = model.carries();
    const auto spec = std::ranges::find(carries, t.name, &CarriedState::name);
    if (spec == carries.end())
      throw InputError(fmt::format("{}: {} is none of the states that the model carries", what, t.name));
    const int64_t tokens = t.shape.size() > 1 ? t.shape[1] : 0;
    const Shape shape = spec->appends() ? spec->shape(rows, tokens) : spec->shape(rows);
    if (t.shape != extents_of(shape) || static_cast<int64_t>(t.values.size()) != shape.count()) {
      throw InputError(fmt::format("{}: {} has the shape [{}] and {} values; for {} rows the model's has {}",
                                   what, t.name, fmt::join(t.shape, ", "), t.values.size(), rows,
                                   shape.to_string()));
    }
    const Buffer staged(spec->spec.dtype, shape);
    convert(View(const_cast<float*>(t.values.data()), Dtype::kF32, shape), staged.view());
    put_state(states, *spec, staged.view());
  }
  return copy_of(states, memory);
}

/// All states that the model carries; zero if `states` lacks one.
FloatTensors tensors_of(const Model& model, const CarryStates& states, int64_t rows) {
  const CarryStates here = copy_of(states, Memory::kHost);
  const NamedStates named(model.carries(), here);
  FloatTensors tensors;
  for (const CarriedState& c : model.carries()) {
    const auto stored = std::ranges::find(named.tensors(), c.name, &NamedTensor::name);
    const bool known = stored != named.tensors().end();
    const Shape absent = c.appends() ? c.shape(rows, 0) : c.shape(rows);
    const Shape shape = known ? stored->view.shape : absent;
    FloatTensor& t = tensors.emplace_back();
    t.name = c.name;
    t.shape = extents_of(shape);
    t.values.resize(static_cast<size_t>(shape.count()));
    if (known && shape.count() > 0) convert(stored->view, View(t.values.data(), Dtype::kF32, shape));
  }
  return tensors;
}

/// InputError unless there is a target, and each is a token or −1.
int64_t count_targets(View targets, int64_t vocab_size) {
  const int64_t* t = targets.as<int64_t>();
  int64_t count = 0;
  for (int64_t i = 0; i < targets.count(); ++i) {
    if (t[i] < kIgnoreTarget || t[i] >= vocab_size) {
      throw InputError(
          fmt::format("targets[{}] is {}; expected -1 for none, or a token below {}", i, t[i], vocab_size));
    }
    count += t[i] != kIgnoreTarget;
  }
  return count;
}

}  // namespace

Gradients LanguageModel::gradients(std::span<const int64_t> tokens, const GradientOptions& options) const {
  return guarded([&] {
    const std::lock_guard lock(impl_->mutex);
    Impl& m = *impl_;
    m.require_trainable("gradients");
    const Buffer rows = m.token_rows(tokens, options.rows);
    Buffer targets = next_token_targets(rows.view());
    if (!options.targets.empty()) {
      if (options.targets.size() != tokens.size())
        throw InputError(fmt::format("{} targets for {} tokens", options.targets.size(), tokens.size()));
      std::ranges::copy(options.targets, targets.view().as<int64_t>());
    }
    const int64_t predictions = count_targets(targets.view(), m.vocabulary());
    if (predictions == 0 && !options.divisor)
      throw InputError("a gradient needs at least two tokens a row, or targets");
    const double divisor = options.divisor.value_or(static_cast<double>(predictions));
    if (!(std::isfinite(divisor) && divisor > 0))
      throw InputError(fmt::format("divisor is {}; it is a positive number", divisor));
    const CarryStates start = states_from(*m.model, m.ctx.memory(), "state", options.state, options.rows);
    const CarryStates dend = states_from(*m.model, m.ctx.memory(), "dstate", options.dstate, options.rows);
    m.model->zero_gradients(m.ctx);
    const TokenGradients g = token_gradients(*m.model, m.ctx,
                                             {.tokens = rows.view(),
                                              .targets = targets.view(),
                                              .start = &start,
                                              .dend = &dend,
                                              .divisor = divisor,
                                              .chunk = m.chunk});
    return Gradients{.loss = g.loss,
                     .predictions = predictions,
                     .parameters = parts_of(*m.model, &Param::grad),
                     .dstate = tensors_of(*m.model, g.dstart, options.rows),
                     .state = tensors_of(*m.model, g.end, options.rows)};
  });
}

struct AdamWOptimizer::Impl {
  Impl(std::shared_ptr<LanguageModel::Impl> shared, const OptimizerConfig& config)
      : model(std::move(shared)), optimizer(config, model->model->params(), alone) {}

  std::shared_ptr<LanguageModel::Impl> model;
  LocalGradients alone;
  Optimizer optimizer;
  int64_t steps = 0;
};

AdamWOptimizer::AdamWOptimizer(const LanguageModel& model, const AdamWOptions& o) {
  guarded([&] {
    const std::lock_guard lock(model.impl_->mutex);
    model.impl_->require_trainable("AdamWOptimizer");
    OptimizerConfig config;
    config.beta1 = o.beta1;
    config.beta2 = o.beta2;
    config.eps = o.eps;
    config.weight_decay = o.weight_decay;
    config.clip_grad_norm = o.clip_grad_norm;
    impl_ = std::make_unique<Impl>(model.impl_, config);
  });
}
AdamWOptimizer::AdamWOptimizer(AdamWOptimizer&&) noexcept = default;
AdamWOptimizer& AdamWOptimizer::operator=(AdamWOptimizer&&) noexcept = default;
AdamWOptimizer::~AdamWOptimizer() = default;

double AdamWOptimizer::step(const FloatTensors& gradients, double lr) {
  return guarded([&] {
    LanguageModel::Impl& m = *impl_->model;
    const std::lock_guard lock(m.mutex);
    fill_parts(*m.model, &Param::grad, gradients, true);
    const double norm = impl_->optimizer.gradient_norm(m.ctx);
    if (!std::isfinite(norm)) throw RunError("the gradient's norm is not finite; no parameter has changed");
    impl_->optimizer.update(m.ctx, lr, norm, ++impl_->steps);
    return norm;
  });
}

void accumulate(FloatTensors& a, const FloatTensors& b) {
  guarded([&] {
    if (a.empty()) {
      a = b;
      return;
    }
    const auto same = [](const FloatTensor& x, const FloatTensor& y) {
      return x.name == y.name && x.values.size() == y.values.size();
    };
    if (!std::ranges::equal(a, b, same)) throw InputError("accumulate: the two lists hold different tensors");
    for (size_t i = 0; i < a.size(); ++i) {
      std::ranges::transform(a[i].values, b[i].values, a[i].values.begin(), std::plus<float>());
    }
  });
}

}  // namespace natrix
