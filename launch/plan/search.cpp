#include "launch/plan/search.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "launch/assemble.h"
#include "launch/plan/step_count.h"
#include "launch/run_mesh.h"

namespace natrix {
namespace {

constexpr int64_t kStep = 16;                        // chunks that are tried are multiples of this
constexpr int64_t kMostSegments = int64_t{1} << 20;  // per row; counting more takes too long

std::vector<int64_t> divisors_of(int64_t n) {
  std::vector<int64_t> all;
  for (int64_t d = 1; d * d <= n; ++d) {
    if (n % d != 0) continue;
    all.push_back(d);
    if (d * d != n) all.push_back(n / d);
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// Whether the mesh divides the rows, tokens and experts of the experiment.
bool divides(const ExperimentConfig& config, const MeshNeeds& needs, const PlannedMesh& mesh) {
  try {
    check_layout(on_mesh(config, mesh), needs, mesh.shape);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

class Search {
 public:
  explicit Search(StepPlanner& planner)
      : config_(planner.config()),
        machine_(planner.machine()),
        needs_(needs_of(*describe_model(config_.model, nullptr, planner.kinds()))),
        planner_(planner) {}

  void all(int64_t ranks) {
    for (int64_t dp : divisors_of(ranks)) {
      if (config_.train.batch_size % dp != 0) continue;
      for (int64_t ep : divisors_of(ranks)) {
        const MeshShape shape{
            .dp = static_cast<int>(dp), .cp = static_cast<int>(ranks / dp), .ep = static_cast<int>(ep)};
        if (ep > 1 && needs_.experts == 0) break;
        one(shape, CarryLinkKind::kRelay);
        if (shape.cp > 1) one(shape, CarryLinkKind::kScan);
      }
    }
  }

  void one(const MeshShape& shape, CarryLinkKind link) {
    for (int64_t micro : micro_batches(config_.train.batch_size / shape.dp)) {
      if (auto plan = best_chunk({.shape = shape, .cp_link = link, .micro_batch = micro}))
        found_.push_back(std::move(*plan));
    }
  }

  PlanSearch take() {
    for (StepPlan& p : found_) {
      if (p.time.empty()) p = planner_.plan(p.mesh);
    }
    std::stable_sort(found_.begin(), found_.end(),
                     [&](const StepPlan& a, const StepPlan& b) { return better(a, b); });
    const auto middle =
        std::find_if(found_.begin(), found_.end(), [&](const StepPlan& p) { return !fits(p); });
    const auto fitting = static_cast<int64_t>(middle - found_.begin());
    return {.plans = std::move(found_), .fitting = fitting};
  }

 private:
  bool fits(const StepPlan& p) const { return p.memory.total() <= machine_.usable_bytes(); }

  std::vector<int64_t> micro_batches(int64_t rows) const {
    if (config_.train.micro_batch_size) return {*config_.train.micro_batch_size};
    return divisors_of(rows);
  }

  /// The plan with sequence.chunk if it fits. Otherwise bisects for the longest multiple of kStep that fits,
  /// and returns the fastest plan that it tried: a shorter chunk reads the weights more often, but leaves
  /// more memory for boundary states. If none fits, the plan with the least memory; nullopt if no chunk
  /// divides.
  std::optional<StepPlan> best_chunk(const PlannedMesh& mesh) {
    std::optional<StepPlan> best = plan_near(mesh, config_.sequence.chunk);
    if (best && fits(*best)) return best;
    const int64_t tokens = config_.sequence.length / mesh.shape.cp;
    int64_t shortest = tokens / kMostSegments / kStep + 1, longest = config_.sequence.chunk / kStep;
    while (shortest <= longest) {
      const int64_t middle = (shortest + longest) / 2;
      std::optional<StepPlan> plan = plan_near(mesh, middle * kStep);
      const bool fit = plan && fits(*plan);
      if (plan && (!best || better(*plan, *best) || as_fast_and_longer(*plan, *best))) best = std::move(plan);
      (fit ? shortest : longest) = fit ? middle + 1 : middle - 1;
    }
    return best;
  }

  /// The plan with this chunk, or with a slightly shorter one if the last segment cannot be divided among
  /// the ranks.
  std::optional<StepPlan> plan_near(PlannedMesh mesh, int64_t chunk) {
    for (mesh.chunk = chunk; mesh.chunk > std::max<int64_t>(0, chunk - 4 * kStep); mesh.chunk -= kStep) {
      if (divides(config_, needs_, mesh)) return planner_.plan_if_it_fits(mesh);
    }
    return std::nullopt;
  }

  bool better(const StepPlan& a, const StepPlan& b) const {
    if (fits(a) != fits(b)) return fits(a);
    return fits(a) ? a.seconds() < b.seconds() : a.memory.total() < b.memory.total();
  }

  /// Whether `a` has the longer chunk and takes the same time, up to rounding.
  bool as_fast_and_longer(const StepPlan& a, const StepPlan& b) const {
    constexpr double kRounding = 1e-9;
    return fits(a) && fits(b) && a.mesh.chunk > b.mesh.chunk && a.seconds() <= b.seconds() * (1 + kRounding);
  }

  const ExperimentConfig& config_;
  const MachineConfig& machine_;
  MeshNeeds needs_;
  StepPlanner& planner_;
  std::vector<StepPlan> found_;
};

/// Whether some mesh of this many ranks divides the experiment with its own chunk.
bool can_be_shared(const ExperimentConfig& config, const MeshNeeds& needs, int64_t ranks) {
  for (int64_t dp : divisors_of(ranks)) {
    if (config.train.batch_size % dp != 0) continue;
    const PlannedMesh mesh{.shape = {.dp = static_cast<int>(dp), .cp = static_cast<int>(ranks / dp)},
                           .micro_batch = config.train.micro_batch_size.value_or(1),
                           .chunk = config.sequence.chunk};
    if (divides(config, needs, mesh)) return true;
  }
  return false;
}

[[noreturn]] void refuse(const StepPlanner& planner, int64_t ranks) {
  const ExperimentConfig& config = planner.config();
  const MeshNeeds needs = needs_of(*describe_model(config.model, nullptr, planner.kinds()));
  std::vector<int64_t> others;
  for (int64_t n = ranks - 1; n > 0 && others.empty(); --n) {
    if (can_be_shared(config, needs, n)) others.push_back(n);
  }
  for (int64_t n = ranks + 1; n <= 2 * ranks && others.size() < 2; ++n) {
    if (can_be_shared(config, needs, n)) others.push_back(n);
  }
  throw InputError(fmt::format(
      "--ranks: no dp x cp of {} ranks shares out train.batch_size {} (dp divides it) and sequence.length {} "
      "(cp stretches of sequence.chunk {}, and what is left); {} ranks can",
      ranks, config.train.batch_size, config.sequence.length, config.sequence.chunk,
      fmt::join(others, " or ")));
}

}  // namespace

PlanSearch search_plans(StepPlanner& planner, int64_t ranks) {
  Search search(planner);
  search.all(ranks);
  PlanSearch found = search.take();
  if (found.plans.empty()) refuse(planner, ranks);
  return found;
}

PlanSearch search_plans(StepPlanner& planner, const MeshShape& shape, CarryLinkKind link) {
  Search search(planner);
  search.one(shape, link);
  PlanSearch found = search.take();
  if (found.plans.empty()) {  // throws an error that says what does not divide
    const ExperimentConfig& config = planner.config();
    check_layout(on_mesh(config, {.shape = shape,
                                  .cp_link = link,
                                  .micro_batch = config.train.micro_batch_size.value_or(1),
                                  .chunk = config.sequence.chunk}),
                 needs_of(*describe_model(config.model, nullptr, planner.kinds())), shape);
  }
  return found;
}

}  // namespace natrix
