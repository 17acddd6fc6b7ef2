#include "launch/api/token_gradients.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "core/hf/hf_checkpoint.h"
#include "core/sequence/diagnose.h"

namespace natrix {

ModelConfig cross_entropy_only(ModelConfig config) {
  config.moe.aux_loss_coef = 0;
  config.moe.z_loss_coef = 0;
  return config;
}

F32Parts f32_parts(Model& model, View Param::*which) {
  std::vector<Param*> params = model.params();
  std::erase_if(params, [&](const Param* p) {
    return !(p->*which);
  });  // buffers (parameters that are not trained) have no gradient
  const FileTensors tensors(params, which);
  F32Parts parts{.named = tensors.list(), .memory = {}};
  for (NamedTensor& t : parts.named) {
    parts.memory.emplace_back(Dtype::kF32, t.view.shape);
    convert(t.view, parts.memory.back().view());
    t.view = parts.memory.back().view();
  }
  return parts;
}

namespace {

/// The checkpoint's name of the first part whose gradient is not finite.
std::string nonfinite_part(Param& p) {
  for (const ParamPart& part : p.parts) {
    const View whole = p.grad.reshaped({p.grad.count()});
    View grad = whole;
    grad.data = static_cast<char*>(whole.data) + part.first * size_of(whole.dtype);
    grad.shape = {part.shape.count()};
    if (!all_finite(grad)) return part.slice ? part.slice->name : part.name;
  }
  return p.name;
}

}  // namespace

TokenGradients token_gradients(Model& model, Context& ctx, const GradientRequest& request) {
  const int64_t length = request.tokens.cols(), chunk = std::min(request.chunk, length);
  LocalRoute states, backwards;
  SegmentSchedule schedule(model, ctx, states, backwards, {.chunk = chunk, .keep_dstart = true});
  StepTally tally;
  tally.begin_step(request.tokens.count());
  const Sequences rows{
      .tokens = request.tokens, .targets = request.targets, .start = request.start, .dend = request.dend};
  StepResult result = schedule.step({&rows, 1}, 1 / request.divisor, tally);
  const double loss = result.loss_sum / request.divisor;
  std::string sick;
  model.visit([&](Param& p) {
    if (sick.empty() && p.grad && !all_finite(p.grad)) sick = nonfinite_part(p);
  });
  if (!std::isfinite(loss) || !sick.empty()) {
    OneProcess alone;
    throw NonfiniteError(fmt::format(
        "loss {}{}: {}{}", digits(loss),
        sick.empty() ? "" : fmt::format(", the gradient of {} is not finite", sick),
        locate_nonfinite(model, ctx, {&rows, 1}, {.length = length, .chunk = chunk}, alone.ranks()),
        request.consequence));
  }
  return {.loss = loss, .dstart = std::move(result.dstart.front()), .end = std::move(result.end.front())};
}

}  // namespace natrix
