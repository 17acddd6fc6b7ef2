#include "launch/plan/dry_rank.h"

#include <algorithm>

#include "core/layers/param_store.h"
#include "core/sequence/segment_schedule.h"
#include "core/train/optimizer.h"
#include "distributed/all_to_all_exchange.h"
#include "distributed/carry_scan.h"
#include "distributed/mesh_ranks.h"

namespace natrix {
namespace {

using Kind = CountingCommunicator::Kind;

bool same(const Ledger& a, const Ledger& b) {
  for (size_t i = 0; i < kWorks; ++i) {
    const Cost &x = a.of(static_cast<Work>(i)), &y = b.of(static_cast<Work>(i));
    if (x.flops != y.flops || x.bf16_flops != y.bf16_flops || x.exps != y.exps || x.bytes != y.bytes)
      return false;
  }
  return true;
}

/// A route that records the work of a layer between enter() and leave(). Appended rows stay on this rank: a
/// plan counts their messages apart from runs.
class Metered final : public CarryRoute {
 public:
  /// before: the appended rows that precede the run. Borrowed.
  Metered(CarryRoute& inner, Context& ctx, const CountingCommunicator& ep, const CarryStates& before)
      : inner_(inner), ctx_(ctx), ep_(ep), before_(before) {}

  void resume(const CarryStates* states) override { inner_.resume(states); }
  void rejoin(const CarryStates& boundary) override { inner_.rejoin(boundary); }
  void begin_segment(bool last) override { inner_.begin_segment(last); }
  const CarryStates& end_states() override { return inner_.end_states(); }
  View enter(CarryKey key, Dtype dtype, const Shape& shape,
             const std::function<SegmentMap()>& summarise) override {
    note_meeting();
    entered_ = true;
    View state = inner_.enter(key, dtype, shape, summarise);
    since_[key] = ctx_.ledger();
    return state;
  }
  View room(CarryKey key, Dtype dtype, const Shape& shape, Memory memory) override {
    return inner_.room(key, dtype, shape, memory);
  }
  void leave(CarryKey key, View state) override {
    const Hop hop{ctx_.ledger().since(since_[key]), state.bytes()};
    const bool known = std::ranges::any_of(
        hops_, [&](const Hop& h) { return h.bytes == hop.bytes && same(h.work, hop.work); });
    if (!known) hops_.push_back(hop);
    inner_.leave(key, state);
  }

  History append(Context& ctx, CarryKey key, const RowFormat& format, View rows) override {
    return append_to(ctx, before_.rows_at(key), format, rows);
  }
  History row_gradients(CarryKey key, const History& history) override {
    return cut_.row_gradients(key, history);
  }
  void collect(Context& ctx, CarryKey key, const History& gradients, View rows) override {
    cut_.collect(ctx, key, gradients, rows);
  }

  /// Moves what was recorded since the last call into `part`.
  void take(RunPart& part) {
    note_meeting();
    part.hops = std::move(hops_);
    part.meetings = meetings_;
    hops_.clear();
    meetings_ = 0;
    entered_ = false;
    seen_ = 0;
  }

 private:
  void note_meeting() {
    const int64_t calls = ep_.count(Kind::kExchange).calls;
    if (entered_ && calls > seen_) {
      ++meetings_;
      entered_ = false;
    }
    seen_ = calls;
  }

  CarryRoute& inner_;
  Context& ctx_;
  const CountingCommunicator& ep_;
  const CarryStates& before_;
  CutRoute cut_;  // whose gradients of rows cost as much as those of any route
  std::map<CarryKey, Ledger> since_;
  std::vector<Hop> hops_;
  int64_t meetings_ = 0, seen_ = 0;
  bool entered_ = false;  // since the last exchange of rows
};

/// Moves a route to where a run with this entry begins.
void prepare(CarryRoute& route, RunKey::Entry entry, const CarryStates& zeros, bool scans) {
  route.resume(entry == RunKey::Entry::kNone ? nullptr : &zeros);
  if (scans && entry == RunKey::Entry::kNext) route.begin_segment(false);
}

Dtype dtype_of(const ExperimentConfig& c) {
  switch (c.device.dtype) {
    case DeviceDtype::kBf16: return Dtype::kBF16;
    case DeviceDtype::kFp64: return Dtype::kF64;
    default: return Dtype::kF32;
  }
}

std::unique_ptr<RowExchange> exchange_of(ProcessMesh& mesh) {
  if (mesh.shape().ep == 1) return nullptr;
  return std::make_unique<AllToAllExchange>(mesh.ep());
}

Sequences dry_rows(int64_t rows, int64_t tokens) {
  const auto view = [&](Dtype dtype) {
    return View(allocate(Memory::kDry, rows * tokens * size_of(dtype)), dtype, {rows, tokens});
  };
  return {.tokens = view(Dtype::kI64), .targets = view(Dtype::kI64), .doc_start = view(Dtype::kU8)};
}

}  // namespace

DryRank::DryRank(const ExperimentConfig& config, const LayerKinds& kinds, const MeshShape& shape, int rank,
                 Backend like)
    : config_(config),
      ctx_(Context::Dry{like}),
      mesh_(shape, rank),
      model_(assemble_model(config.model, dtype_of(config), true, Memory::kDry, exchange_of(mesh_), kinds)) {}

const RunCost& DryRank::run(const RunKey& key) {
  const auto known = runs_.find(key);
  return known != runs_.end() ? known->second : runs_.emplace(key, measure(key)).first->second;
}

/// The work since `before`, and the messages since the last call.
void DryRank::take_part(RunPart& part, const Ledger& before) {
  CountingCommunicator &ep = axis(mesh_.ep()), &cp = axis(mesh_.cp());
  part.work = ctx_.ledger().since(before);
  part.choices = ep.count(Kind::kGather);
  part.rows = ep.count(Kind::kExchange);
  part.maps = cp.count(Kind::kGather);
  part.overlaps = ep.overlaps();
  ep.reset();
  cp.reset();
}

RunCost DryRank::measure(const RunKey& key) {
  CarryStates zeros, before_run;
  for (const CarriedState& c : model_->carries()) {
    if (c.appends()) {
      auto rows = std::make_shared<RowStore>(c.row_format(), key.rows, Memory::kDry);
      rows->fill_zero(key.history, key.history);  // a dry run reads no page
      before_run.put_rows(c.key, {rows, key.history});
    } else {
      zeros.make(c.key, c.spec.dtype, c.shape(key.rows), Memory::kDry);
    }
  }
  const bool scans = mesh_.shape().cp > 1 && config_.parallel.cp_link == CarryLinkKind::kScan;
  LocalRoute local, local_back;
  CarryScan scan(mesh_.cp(), ctx_, Direction::kForward), scan_back(mesh_.cp(), ctx_, Direction::kBackward);
  const auto route = [&](RunKey::Entry entry, CarryRoute& between, CarryRoute& alone) -> CarryRoute& {
    const bool meets = entry == RunKey::Entry::kFirst || entry == RunKey::Entry::kNext;
    return scans && meets ? between : alone;
  };
  Metered states(route(key.states, scan, local), ctx_, axis(mesh_.ep()), before_run);
  Metered gradients(route(key.gradients, scan_back, local_back), ctx_, axis(mesh_.ep()), before_run);
  prepare(states, key.states, zeros, scans);
  prepare(gradients, key.gradients, zeros, scans);

  SegmentSchedule schedule(*model_, ctx_, states, gradients,
                           {.chunk = key.tokens, .gradient = config_.sequence.gradient});
  StepResult result;
  StepTally tally;
  const std::unique_ptr<SegmentRunner> runner =
      schedule.runner(dry_rows(key.rows, 2 * key.tokens), tally, result);
  // prepare() has moved the routes to where the run begins. This entry does not move them.
  const SegmentRun run{
      .segment = 1, .entry = SegmentRun::Entry::kAfterStart, .visit = key.visit, .last = true};
  tally.begin_step(1);
  ctx_.arena().reset();
  ctx_.arena().clear_peak();
  RunCost cost;
  Ledger before = ctx_.ledger();
  key.recorded ? runner->record(run) : runner->pass_over(run, false);
  states.take(cost.forward);
  take_part(cost.forward, before);
  if (key.recorded) {
    before = ctx_.ledger();
    runner->backward(1, false);
    gradients.take(cost.backward);
    take_part(cost.backward, before);
  }
  cost.arena = ctx_.arena().peak();
  if (key.recorded) {  // backward() contains the head's work, which the plan lists separately
    cost.head = head_work(key);
    cost.backward.work = cost.backward.work.since(cost.head);
  }
  figures_ = std::max(figures_, tally.figures().size());
  return cost;
}

Ledger DryRank::head_work(const RunKey& key) {
  Arena::Frame frame(ctx_.arena());
  const Ledger before = ctx_.ledger();
  const View hidden = ctx_.arena().take(dtype_of(config_), {key.rows, key.tokens, config_.model.d_model});
  const View dhidden = ctx_.arena().like(hidden);
  model_->head().loss_and_gradient(ctx_, hidden, dry_rows(key.rows, key.tokens).targets, 1, dhidden);
  return ctx_.ledger().since(before);
}

/// Follows the order of TrainStep::compute and Trainer::one_step.
RestCost DryRank::rest(const MeshShape& shape, int rank) {
  run({.visit = Visit::kFirst});  // fills the tally, whose size is needed below
  ProcessMesh mesh(shape, rank);
  MeshRanks mesh_ranks(mesh, ctx_, config_.parallel);
  const Ranks ranks = mesh_ranks.ranks();
  const std::vector<Param*> params = model_->params();
  const Dtype dtype = wide(dtype_of(config_));
  RestCost cost;
  cost.weights = cost.gradients = param_offsets(params, dtype).back() * size_of(dtype);
  for (const Param* p : params) cost.rounded += p->rounded ? p->rounded.bytes() : 0;
  const auto take = [&](const char* name, MeshAxis which, Communicator& c, Kind kind, bool behind = false) {
    cost.terms.push_back({name, which, axis(c).count(kind), behind});
    axis(c).reset();
  };
  const auto sum_figures = [&](size_t count) {
    std::vector<double> figures(count);
    ranks.world.sum(ctx_, figures);
  };
  Optimizer optimizer(config_.optimizer, params, ranks.gradients);
  cost.optimizer = optimizer.bytes();

  ranks.gradients.finish(ctx_, params);
  take("gradients", MeshAxis::kGradients, mesh.gradients(), Kind::kSum, true);
  take("gradients of experts", MeshAxis::kExpertData, mesh.expert_data(), Kind::kSum, true);
  sum_figures(2);         // predictions, tokens
  sum_figures(figures_);  // the tally
  sum_figures(1);         // the loss
  ranks.world.max(ctx_, 0);
  take("figures of the step", MeshAxis::kWorld, mesh.world(), Kind::kSum);
  const Ledger before = ctx_.ledger();
  const double norm = optimizer.gradient_norm(ctx_);
  Communicator& normed = ranks.gradients.shards_updates() ? mesh.world() : mesh.ep();
  take("gradient norm", ranks.gradients.shards_updates() ? MeshAxis::kWorld : MeshAxis::kEp, normed,
       Kind::kSum);
  optimizer.update(ctx_, config_.optimizer.lr, norm, 1);
  cost.update = ctx_.ledger().since(before);
  take("updated weights", MeshAxis::kGradients, mesh.gradients(), Kind::kGather);
  take("updated weights of experts", MeshAxis::kExpertData, mesh.expert_data(), Kind::kGather);
  cost.sums = mesh.scratch_bytes();
  return cost;
}

}  // namespace natrix
