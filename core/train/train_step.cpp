#include "core/train/train_step.h"

#include <algorithm>

#include "core/carry/state_rows.h"
#include "kernels/loss.h"

namespace natrix {
namespace {

int64_t count_predictions(View targets) {
  if (is_dry(targets.data)) return targets.count();
  const int64_t* t = targets.as<int64_t>();
  return targets.count() - std::count(t, t + targets.count(), kIgnoreTarget);
}

}  // namespace

TrainStep::TrainStep(Model& model, Context& ctx, const ExperimentConfig& config)
    : TrainStep(model, ctx, config, std::make_unique<OneProcess>()) {}

TrainStep::TrainStep(Model& model, Context& ctx, const ExperimentConfig& config,
                     std::unique_ptr<OneProcess> alone)
    : TrainStep(model, ctx, config, alone->ranks()) {
  alone_ = std::move(alone);
}

TrainStep::TrainStep(Model& model, Context& ctx, const ExperimentConfig& config, const Ranks& ranks)
    : model_(model),
      ctx_(ctx),
      carry_state_(config.sequence.carry_state),
      rows_(config.train.batch_size / ranks.share.dp),
      micro_batch_(config.train.micro_batch_size.value_or(rows_)),
      ranks_(ranks),
      schedule_(model, ctx, ranks.carry.states(), ranks.carry.gradients(),
                {.chunk = config.sequence.chunk,
                 .gradient = config.sequence.gradient,
                 .boundary_memory = config.sequence.boundary_memory,
                 .needs_tally = model.needs_tally(),
                 .keep_end = config.sequence.carry_state}) {}

std::vector<Sequences> TrainStep::cut(const Batch& batch, const std::vector<CarryStates>& starts) const {
  std::vector<Sequences> parts;
  const int64_t rows = batch.tokens.view().rows();
  for (int64_t first = 0; first < rows; first += micro_batch_) {
    const int64_t n = std::min(micro_batch_, rows - first);
    const auto part = [&](const Buffer& b) { return b ? b.view().row_range(first, n) : View{}; };
    parts.push_back(
        {.tokens = part(batch.tokens), .targets = part(batch.targets), .doc_start = part(batch.doc_start)});
    if (carry_state_ && batch.continues && parts.size() <= starts.size()) {
      parts.back().start = &starts[parts.size() - 1];
    }
  }
  return parts;
}

CarryStates TrainStep::carried_rows() {
  if (carried_.empty()) return {};
  return ranks_.carry.gather_rows(ctx_, join_rows(carried_));
}

void TrainStep::carry_rows(const CarryStates& all) {
  carried_.clear();
  if (all.empty()) return;
  const RankShare& share = ranks_.share;
  for (int64_t first = 0; first < rows_; first += micro_batch_) {
    const int64_t n = std::min(micro_batch_, rows_ - first);
    carried_.push_back(share.cp_rank == 0 ? rows_of(all, share.dp_rank * rows_ + first, n, ctx_.memory())
                                          : CarryStates());
  }
}

StepFigures TrainStep::compute(const Batch& batch) {
  const int64_t here = count_predictions(batch.targets.view());
  double counts[] = {static_cast<double>(here),
                     static_cast<double>(batch.tokens.view().count())};  // exact below 2^53
  ranks_.world.sum(ctx_, counts);
  StepFigures f{.predictions = static_cast<int64_t>(counts[0]),
                .tokens = static_cast<int64_t>(counts[1]),
                .predictions_here = here};
  before_ = std::move(carried_);
  tally_.begin_step(f.tokens);
  model_.zero_gradients(ctx_);
  const double scale = 1.0 / static_cast<double>(std::max<int64_t>(f.predictions, 1));
  const std::vector<Param*> params = model_.params();
  StepResult result =
      schedule_.step(cut(batch, before_), scale, tally_,
                     {.complete_tally =
                          [&](StepTally& tally) {
                            std::vector<double> figures = tally.figures();
                            ranks_.world.sum(ctx_, figures);
                            tally.set_figures(figures);
                          },
                      .gradients_done = [&](size_t first) { ranks_.gradients.ready(ctx_, params, first); }});
  f.loss_here = result.loss_sum / static_cast<double>(std::max<int64_t>(here, 1));
  ranks_.gradients.finish(ctx_, params);
  ranks_.world.sum(ctx_, {&result.loss_sum, 1});
  f.loss = result.loss_sum * scale;
  f.boundary_bytes = result.boundary_bytes;
  carried_.clear();
  for (const CarryStates& end : result.end) carried_.push_back(ranks_.carry.to_first(ctx_, end));
  for (const auto& [sublayer, layer] : tally_.layers()) {
    BalanceFigures b = balance_figures(layer, f.tokens);
    f.aux_loss += b.aux_loss;
    f.z_loss += b.z_loss;
    f.dropped += layer.dropped;
    f.expert_load.push_back(std::move(b.load));
  }
  return f;
}

}  // namespace natrix
