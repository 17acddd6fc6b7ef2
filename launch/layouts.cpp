#include "launch/layouts.h"

#include <algorithm>
#include <fmt/format.h>
#include <regex>

#include "core/train/train_step.h"
#include "distributed/thread_communicator.h"
#include "launch/run_mesh.h"
#include "launch/training_memory.h"

namespace natrix {

ParallelConfig parse_layout(const std::string& text) {
  static const std::regex form(
      "(?:dp([1-9]\\d{0,3}))?(?:cp([1-9]\\d{0,3}))?(?:ep([1-9]\\d{0,3}))?(scan|relay)?");
  std::smatch m;
  if (text.empty() || !std::regex_match(text, m, form)) {
    throw InputError(
        fmt::format("--layouts: {} is no layout; say dp2, cp4, ep2, or several of them in this order, such "
                    "as dp2cp2ep4, and scan "
                    "after them for cp_link: scan",
                    text));
  }
  const auto number = [&](size_t i) { return m[i].matched ? std::stoll(m[i].str()) : 1; };
  ParallelConfig p;
  p.cp = number(2);
  p.ep = number(3);
  p.dp = m[1].matched ? number(1) : std::max<int64_t>(1, p.ep / p.cp);
  if (m[4].str() == "scan") p.cp_link = CarryLinkKind::kScan;
  return p;
}

void check_layout(const ExperimentConfig& config, const MeshNeeds& needs, const ParallelConfig& parallel) {
  check_layout(config, needs, settle_mesh(parallel, static_cast<int>(*parallel.dp * parallel.cp)));
}

void refuse_mesh_overrides(const std::vector<std::string>& overrides, const std::string& instead) {
  for (const std::string& o : overrides) {
    for (const char* key : {"parallel.dp", "parallel.cp", "parallel.ep"}) {  // and parallel.cp_link
      if (o.starts_with(key)) throw InputError(fmt::format("{}: {}", o, instead));
    }
  }
}

LayoutStep step_under_layout(const Experiment& experiment, const ParallelConfig& parallel,
                             const BatchSource& data) {
  ExperimentConfig config = with_micro_batch(experiment.config, *parallel.dp, *experiment.kinds);
  config.parallel = parallel;
  const auto ranks = static_cast<int>(*parallel.dp * parallel.cp);
  check_layout(config, needs_of(*experiment.describe()), parallel);
  LayoutStep result;
  run_ranks(ranks, parallel.timeout, [&](Transport& world) {
    Context ctx(experiment.backend(), 1);
    // Ranks are threads here. They share the device if there is one.
    RunMesh mesh(config, ctx, &world, DeviceLink::kStaged);
    const Ranks ranks = mesh.ranks();
    AssembledModel model = experiment.make_model(mesh.exchange());
    TrainStep step(*model, ctx, config, ranks);
    const StepFigures figures = step.compute(ranks.share.take(data, 0, config));
    auto sent = static_cast<double>(mesh.traffic().bytes);
    ranks.world.sum(ctx, {&sent, 1});
    const bool first = ranks.world.rank() == 0;
    if (first) result.loss = figures.loss;
    if (first) result.bytes_sent = static_cast<int64_t>(sent);
    for (const Param* p : model->params()) {
      if (!p->grad) continue;
      Buffer gathered = p->spread_of > 0 ? ranks.placement.whole(ctx, *p, p->grad) : Buffer();
      if (!first) continue;
      Buffer& kept = result.gradients[p->name] =
          gathered ? std::move(gathered) : Buffer(p->grad.dtype, p->shape);
      if (p->spread_of == 0) copy(p->grad, kept.view());
    }
  });
  return result;
}

}  // namespace natrix
