#include "tests/launch/ranks.h"

#include <mutex>

#include "core/hf/hf_checkpoint.h"
#include "core/train/optimizer.h"
#include "distributed/thread_communicator.h"

namespace natrix::test {
namespace {

constexpr double kTimeout = 120;  // under a sanitizer, and with neighbours, a step can take long

Buffer rows_of(const Buffer& b, int64_t begin, int64_t count) {
  Buffer part(b.view().dtype, {count, b.view().cols()});
  copy(b.view().row_range(begin, count), part.view());
  return part;
}

void keep(std::map<std::string, Buffer>& into, const std::string& name, View v) {
  Buffer& b = into[name] = Buffer(v.dtype, v.shape);
  copy(v, b.view());
}

/// On rank 0; `described` names all tensors of the whole model.
void gather(const Ranks& ranks, Context& ctx, Model& model, Model& described, WholeStep& step) {
  const std::vector<Param*> mine = model.params(), all = described.params();
  for (size_t i = 0; i < mine.size(); ++i) {
    Buffer gathered;
    View grad = mine[i]->grad;
    if (mine[i]->spread_of > 0) {
      gathered = ranks.placement.whole(ctx, *mine[i], grad);
      grad = gathered.view();
    }
    if (ranks.world.rank() != 0) continue;
    all[i]->grad = grad;
    if (grad) {
      for (const NamedTensor& t : named_parts({all[i]}, &Param::grad)) keep(step.gradients, t.name, t.view);
    } else if (!mine[i]->trainable) {
      keep(step.biases, mine[i]->name, mine[i]->value);
    }
  }
}

WholeStep one_step(const ExperimentConfig& config, Model& whole, const SmallBatch& rows, Backend backend,
                   Transport* world, DeviceLink link, const LayerKinds& kinds) {
  Context ctx(backend, 1);
  RunMesh mesh(config, ctx, world, link);
  const Ranks ranks = mesh.ranks();
  AssembledModel model =
      assemble_model(config.model, whole.dtype(), true, ctx.memory(), mesh.exchange(), kinds);
  copy_weights(whole, *model);
  TrainStep step(*model, ctx, config, ranks);
  const FixedRows source(rows);
  WholeStep result{.figures = step.compute(ranks.share.take(source, 0, config))};
  double sent = static_cast<double>(mesh.traffic().bytes);
  ranks.world.sum(ctx, {&sent, 1});
  result.bytes_sent = static_cast<int64_t>(sent);
  const Optimizer optimizer(config.optimizer, model->params(), ranks.gradients);
  result.norm = optimizer.gradient_norm(ctx);
  model->after_step(step.tally());
  AssembledModel described = describe_model(config.model, nullptr, kinds);
  gather(ranks, ctx, *model, *described, result);
  return result;
}

}  // namespace

void copy_weights(Model& whole, Model& share) {
  std::map<std::string, View> stored;
  for (const NamedTensor& t : named_parts(whole.params(), &Param::value)) stored[t.name] = t.view;
  for (const NamedTensor& t : named_parts(share.params(), &Param::value)) copy(stored.at(t.name), t.view);
}

Batch FixedRows::batch(int64_t, int64_t row_begin, int64_t row_count) const {
  return {.tokens = rows_of(rows_.tokens, row_begin, row_count),
          .targets = rows_of(rows_.targets, row_begin, row_count),
          .doc_start = rows_of(rows_.doc_start, row_begin, row_count),
          .continues = false};
}

WholeStep step_on_ranks(const ExperimentConfig& config, int ranks, Model& whole, const SmallBatch& rows,
                        Backend backend, DeviceLink link, const LayerKinds& kinds) {
  WholeStep result;
  run_ranks(ranks, kTimeout, [&](Transport& world) {
    ExperimentConfig mine = config;
    mine.parallel.timeout = kTimeout;
    check_layout(mine, needs_of(whole), settle_mesh(mine.parallel, ranks));
    WholeStep step = one_step(mine, whole, rows, backend, &world, link, kinds);
    if (world.rank() == 0) result = std::move(step);
  });
  return result;
}

WholeStep step_alone(const ExperimentConfig& config, Model& whole, const SmallBatch& rows, Backend backend,
                     const LayerKinds& kinds) {
  ExperimentConfig alone = config;
  alone.parallel = {};
  return one_step(alone, whole, rows, backend, nullptr, DeviceLink::kStaged, kinds);
}

double difference(const WholeStep& a, const WholeStep& b) {
  require(a.gradients.size() == b.gradients.size() && !a.gradients.empty(), "steps of different models");
  double worst = 0;
  for (const auto& [name, gradient] : a.gradients) {
    worst = std::max(worst, relative_difference(gradient.view(), b.gradients.at(name).view()));
  }
  return worst;
}

}  // namespace natrix::test
