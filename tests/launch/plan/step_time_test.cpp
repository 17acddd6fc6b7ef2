// Times and choices of a plan: the wait of a relay against a simulated one, work against figures counted by
// hand, and a search that finds all meshes and tells those that fit.
#include "launch/plan/step_time.h"

#include <algorithm>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

#include "kernels/base/check.h"
#include "launch/plan/search.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;

/// Ranks that run layers of `before` seconds, a scan of `scan` that waits for the rank before, and `after`;
/// with a layer of experts behind each, where neighbours meet.
struct RelayedLayers {
  int64_t segments, ranks, layers, group;
  double before, scan, after;

  RelaySweep sweep() const {
    return {.segments = segments,
            .ranks = ranks,
            .run = static_cast<double>(layers) * (before + scan + after),
            .hop = scan,
            .group = group,
            .waits = layers};
  }

  double simulated() const {
    std::vector<double> clock(static_cast<size_t>(ranks));
    std::vector<double> ring(static_cast<size_t>(layers));  // states that the last rank hands to the first
    for (int64_t s = 0; s < segments; ++s) {
      for (int64_t l = 0; l < layers; ++l) {
        double state = ring[static_cast<size_t>(l)];
        for (double& now : clock) now = state = std::max(now + before, state) + scan;
        ring[static_cast<size_t>(l)] = state;
        for (size_t first = 0; first < clock.size(); first += static_cast<size_t>(group)) {
          const auto begin = clock.begin() + static_cast<std::ptrdiff_t>(first), end = begin + group;
          std::fill(begin, end, *std::max_element(begin, end) + after);
        }
      }
    }
    return *std::max_element(clock.begin(), clock.end());
  }
};

TEST(RelaySweep, WaitsAsLongAsSimulatedRanks) {
  for (int64_t segments : {1, 2, 7}) {
    for (int64_t ranks : {2, 4, 12}) {
      for (int64_t group : {1, 2, 4}) {
        if (ranks % group != 0) continue;
        for (double scan : {0.01, 1.0}) {
          const RelayedLayers r{segments, ranks, 5, group, 0.7, scan, 1.5};
          EXPECT_NEAR(r.sweep().seconds(), r.simulated(), 1e-9)
              << segments << " segments, " << ranks << " ranks, groups of " << group << ", scan " << scan;
        }
      }
    }
  }
}

TEST(RelaySweep, WaitsForTheRingWhereItIsLongerThanASegment) {
  const RelayedLayers r{
      .segments = 9, .ranks = 100, .layers = 3, .group = 1, .before = 0.5, .scan = 1, .after = 0.5};
  EXPECT_NEAR(r.sweep().seconds(), r.simulated(), 1e-9);
  EXPECT_GT(r.sweep().seconds(), 8 * 100);
}

/// Figures so round that times can be counted by hand.
const char* kMachine = R"(
device: {name: round, backend: cpu}
compute: {fp32: 1.0e+9, bf16: none, fp64: none, fraction: 0.5, exps: 1.0e+6}
memory: {size: 1GB, usable: 0.5, bandwidth: 1.0e+15, fraction: 1.0}
node: {devices: 2, bandwidth: 1.0e+6, fraction: 1.0, latency: 1.0e-3, overhead: 0.0}
network: {bandwidth: none, fraction: 1.0, latency: 0.0, overhead: 0.0}
)";

ExperimentConfig small_experiment() {
  ExperimentConfig c;
  c.model = small_config("ME", 2);
  c.sequence.length = 64;
  c.sequence.chunk = 16;
  c.train.batch_size = 4;
  return c;
}

double seconds_of(const StepPlan& plan, const std::string& term) {
  const auto t =
      std::find_if(plan.time.begin(), plan.time.end(), [&](const auto& x) { return x.name == term; });
  return t == plan.time.end() ? 0 : t->seconds;
}

TEST(StepTime, IsTheWorkOverTheMachinesFigures) {
  const ExperimentConfig c = small_experiment();
  const MachineConfig machine = parse_machine(kMachine, "round.yaml");
  const StepPlan plan = StepPlanner(c, machine).plan({.micro_batch = 4, .chunk = 16});
  // Four segments of 4 x 16 tokens; three of them are run forward twice.
  EXPECT_EQ(plan.forward_runs, 7);
  const double forward = 7 * 64, backward = 4 * 64;
  const double D = 12, I = 24, N = 5, R = 3, E = 5, k = 2, F = 7, V = 17, layers = 2;
  const double dense = layers * (3 * I * D + I * (R + 2 * N) + R * I + E * D), experts = layers * 3 * F * D;
  EXPECT_NEAR(seconds_of(plan, "products"), (2 * forward + 4 * backward) * dense / 0.5e9, 1e-12);
  // The first time, the last layer's experts are passed over.
  const double expert_forward = forward - 3 * 64 / layers;
  EXPECT_NEAR(seconds_of(plan, "products of experts"),
              (2 * expert_forward + 4 * backward) * k * experts / 0.5e9, 1e-12);
  EXPECT_NEAR(seconds_of(plan, "scan"), (forward + 2.5 * backward) * layers * I * N / 1e6, 1e-9);
  EXPECT_NEAR(seconds_of(plan, "head and loss"), 6 * backward * V * D / 0.5e9, 1e-12);
  EXPECT_EQ(plan.communication.size(), 0u);
  EXPECT_EQ(plan.time.front().name, "scan");
  EXPECT_EQ(plan.time.front().bound, "exponentials");
}

double time_on_the_link(const CommunicationTerm& t) {  // of two ranks of that machine
  return static_cast<double>(t.bytes) / 2 / 1e6 + static_cast<double>(t.calls) * 1e-3;
}

TEST(StepTime, CommunicationIsItsBytesOverTheLink) {
  const ExperimentConfig c = small_experiment();
  const MachineConfig machine = parse_machine(kMachine, "round.yaml");
  const StepPlan plan =
      StepPlanner(c, machine).plan({.shape = {.dp = 2, .ep = 2}, .micro_batch = 2, .chunk = 16});
  ASSERT_FALSE(plan.communication.empty());
  for (const CommunicationTerm& t : plan.communication) {
    EXPECT_DOUBLE_EQ(t.seconds, seconds_of(plan, t.name));
    if (t.behind_backward) continue;  // below
    EXPECT_NEAR(t.seconds, time_on_the_link(t), 1e-9) << t.name;
  }
}

// They travel while the last segment runs backward, and cost what is left of their time then.
TEST(StepTime, SumsOfGradientsHideBehindTheLastBackwardRun) {
  ExperimentConfig c = small_experiment();
  c.model.pattern = "M";
  MachineConfig machine = parse_machine(kMachine, "round.yaml");
  machine.compute.fp32 = 1e15;
  const auto gradients = [&](double exps) {
    machine.compute.exps = exps;
    const StepPlan plan = StepPlanner(c, machine).plan({.shape = {.dp = 2}, .micro_batch = 2, .chunk = 16});
    const auto t = std::find_if(plan.communication.begin(), plan.communication.end(),
                                [](const auto& x) { return x.behind_backward; });
    return std::pair(t->seconds, time_on_the_link(*t));
  };
  const auto [fast, all] = gradients(1e15);
  EXPECT_NEAR(fast, all, 1e-6);
  EXPECT_EQ(gradients(1).first, 0);
  const double exps = 2.5 * 2 * 16 * 24 * 5 * 2;  // of a backward run: rows, tokens, I, N, layers
  EXPECT_NEAR(gradients(2 * exps / all).first, all / 2, 1e-6);
}

// In bf16 products go at bf16's rate, but for those of routers; a scan's exponentials do not change.
TEST(StepTime, ProductsOfBf16GoAtItsRate) {
  ExperimentConfig c = small_experiment();
  MachineConfig machine = parse_machine(kMachine, "round.yaml");
  const PlannedMesh mesh{.micro_batch = 4, .chunk = 16};
  const StepPlan fp32 = StepPlanner(c, machine).plan(mesh);
  c.device.dtype = DeviceDtype::kBf16;
  EXPECT_THROW(StepPlanner(c, machine).plan(mesh), InputError) << "it has no bf16";
  machine.compute.bf16 = 8e9;
  const StepPlan bf16 = StepPlanner(c, machine).plan(mesh);
  const double tokens = 2 * 7 * 64 + 4 * 4 * 64, D = 12, E = 5, layers = 2;
  const double routers = tokens * layers * E * D / 0.5e9;
  EXPECT_NEAR(seconds_of(bf16, "products"), routers + (seconds_of(fp32, "products") - routers) / 8, 1e-12);
  EXPECT_NEAR(seconds_of(bf16, "products of experts"), seconds_of(fp32, "products of experts") / 8, 1e-12);
  EXPECT_NEAR(seconds_of(bf16, "head and loss"), seconds_of(fp32, "head and loss") / 8, 1e-12);
  EXPECT_NEAR(seconds_of(bf16, "scan"), seconds_of(fp32, "scan"), 1e-12);
}

TEST(StepTime, RowsThatTravelInHalvesHideBehindExperts) {
  ExperimentConfig c = small_experiment();
  c.model.pattern = "E";
  c.model.d_model = 1024;  // rows so long that they travel in halves
  c.model.moe.num_experts = 4;
  MachineConfig machine = parse_machine(kMachine, "round.yaml");
  machine.node.latency = 0;
  const auto rows = [&](double flops) {
    machine.compute.fp32 = flops;
    const StepPlan plan =
        StepPlanner(c, machine).plan({.shape = {.dp = 2, .ep = 2}, .micro_batch = 2, .chunk = 64});
    const auto t = std::find_if(plan.communication.begin(), plan.communication.end(),
                                [](const auto& x) { return x.name == "tokens to experts"; });
    return std::pair(t->seconds, static_cast<double>(t->bytes) / 2 / 1e6);
  };
  const auto [fast, all] = rows(1e18);
  EXPECT_NEAR(fast, all, 1e-6);
  // Of each half the way there or back is hidden, and no more than that.
  EXPECT_NEAR(rows(1).first, all / 2, 1e-9);
  const double flops =
      6 * 2 * 64 * 2 * 3 * 7 * 1024 * 2;  // of both runs: rows, tokens, k, W of F x D, layers
  EXPECT_NEAR(rows(2 * flops / (all / 5)).first, all - all / 5, 1e-6);
}

TEST(StepTime, TheOptimizerUpdatesItsShare) {
  ExperimentConfig c = small_experiment();
  MachineConfig machine = parse_machine(kMachine, "round.yaml");
  machine.memory.bandwidth = 1e6;
  const PlannedMesh mesh{.shape = {.dp = 2}, .micro_batch = 2, .chunk = 16};
  const StepPlan all = StepPlanner(c, machine).plan(mesh);
  EXPECT_NEAR(seconds_of(all, "optimizer"), static_cast<double>(4 * all.memory.optimizer) / 1e6, 1e-9);
  c.parallel.zero = 1;
  const StepPlan half = StepPlanner(c, machine).plan(mesh);
  // What fills up lines between tensors has moments in a share, but is not updated.
  const double shared = static_cast<double>(4 * half.memory.optimizer) / 1e6;
  EXPECT_NEAR(seconds_of(half, "optimizer"), shared, 0.05 * shared);
  EXPECT_NEAR(seconds_of(half, "optimizer") / seconds_of(all, "optimizer"), 1.0 / 2, 0.02);
}

TEST(StepTime, NeedsALinkBetweenTheRanks) {
  const ExperimentConfig c = small_experiment();
  const MachineConfig machine = parse_machine(kMachine, "round.yaml");
  try {
    StepPlanner(c, machine).plan({.shape = {.dp = 4}, .micro_batch = 1, .chunk = 16});
    FAIL() << "four ranks on a machine of two";
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), HasSubstr("round has no network between nodes of 2"));
    EXPECT_THAT(e.what(), HasSubstr("at most 2"));
  }
}

TEST(PlanSearch, FindsEveryMeshThatDivides) {
  const ExperimentConfig c = small_experiment();
  StepPlanner planner(c, load_machine("h100"));
  const PlanSearch found = search_plans(planner, 4);
  std::set<std::string> meshes;
  for (const StepPlan& p : found.plans) {
    const MeshShape& s = p.mesh.shape;
    EXPECT_EQ(s.ranks(), 4);
    meshes.insert(fmt::format("dp{} cp{} ep{} {} micro {}", s.dp, s.cp, s.ep,
                              p.mesh.cp_link == CarryLinkKind::kScan ? "scan" : "relay", p.mesh.micro_batch));
  }
  EXPECT_EQ(meshes.size(), found.plans.size()) << "none twice";
  // dp 4 has one row a rank, dp 2 two, which can be halved, dp 1 four; ep is 1, 2 or 4; cp > 1 has two links.
  EXPECT_EQ(meshes.size(), 3u * (1 + 2 * 2 + 2 * 3));
  EXPECT_EQ(found.fitting, static_cast<int64_t>(found.plans.size()));
  for (size_t i = 1; i < found.plans.size(); ++i)
    EXPECT_LE(found.plans[i - 1].seconds(), found.plans[i].seconds());
}

TEST(PlanSearch, ShortensChunksToFit) {
  ExperimentConfig c = small_experiment();
  c.sequence.length = c.sequence.chunk = 4096;
  c.train.micro_batch_size = 1;
  MachineConfig machine = load_machine("h100");
  machine.memory.usable = 1;
  const MeshShape alone;
  const auto search = [&] {
    StepPlanner planner(c, machine);
    return search_plans(planner, alone, CarryLinkKind::kRelay);
  };
  const auto best = [&] { return search().plans.front(); };
  machine.memory.size = int64_t{1} << 40;
  EXPECT_EQ(best().mesh.chunk, 4096);
  const int64_t whole = StepPlanner(c, machine).plan({.micro_batch = 1, .chunk = 4096}).memory.total();
  machine.memory.size = whole - 1;
  EXPECT_EQ(best().mesh.chunk, 4080);
  machine.memory.size = StepPlanner(c, machine).plan({.micro_batch = 1, .chunk = 624}).memory.total();
  EXPECT_EQ(best().mesh.chunk, 624);
  machine.memory.size = 1;
  EXPECT_EQ(search().fitting, 0);
}

TEST(PlanSearch, SaysWhichNumbersDivide) {
  ExperimentConfig c = small_experiment();
  c.train.batch_size = 1;
  try {
    StepPlanner planner(c, load_machine("h100"));
    search_plans(planner, 67);
    FAIL() << "67 ranks share 64 tokens";
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), HasSubstr("--ranks: no dp x cp of 67 ranks"));
    EXPECT_THAT(e.what(), HasSubstr("64 ranks can"));
  }
}

}  // namespace
}  // namespace natrix::test
