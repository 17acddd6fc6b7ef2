// What `natrix plan` counts is what a step does: bytes and messages of every axis of the mesh, and the memory
// of a rank, against a step that ranks (threads) run.
#include "launch/plan/plan.h"

#include <gtest/gtest.h>
#include <mutex>

#include "core/layers/param_store.h"
#include "core/train/optimizer.h"
#include "distributed/all_to_all_exchange.h"
#include "distributed/mesh_ranks.h"
#include "distributed/thread_communicator.h"
#include "launch/plan/step_count.h"
#include "tests/launch/ranks.h"

namespace natrix::test {
namespace {

constexpr int64_t kPlanRows = 12;

struct PlanCase {
  std::string name;
  int dp = 1, cp = 1, ep = 1;
  CarryLinkKind link = CarryLinkKind::kRelay;
  int64_t length = 48, chunk = 48, micro = 1;
  int64_t slots = 1000;  // boundaries that fit into memory
  GradientMode gradient = GradientMode::kExact;
  std::string pattern = "ME-";
  double aux = 0.1;
  int64_t experts = 4, top_k = 4, d_model = 12, vocabulary = 17;
  int64_t bucket = 0, zero = 0, d_state = 5;
  bool carry = false;
  PlannedMesh mesh() const {
    return {.shape = {.dp = dp, .cp = cp, .ep = ep}, .cp_link = link, .micro_batch = micro, .chunk = chunk};
  }
};

std::ostream& operator<<(std::ostream& out, const PlanCase& c) {
  return out << c.name;
}

/// Every token goes to every expert, so that routing is even whatever the weights are.
ExperimentConfig experiment(const PlanCase& c) {
  ExperimentConfig e;
  e.model = small_config(c.pattern);
  e.model.d_model = c.d_model;
  e.model.mamba.d_state = c.d_state;
  e.model.vocab_size = c.vocabulary;
  e.model.moe.num_experts = c.experts;
  e.model.moe.top_k = c.top_k;
  e.model.moe.aux_loss_coef = c.aux;
  e.model.moe.bias_update_rate = c.aux > 0 ? 0.01 : 0;  // a buffer that is not trained
  e.sequence.length = c.length;
  e.sequence.chunk = c.chunk;
  e.sequence.gradient = c.gradient;
  e.sequence.carry_state = c.carry;
  e.sequence.boundary_memory = c.slots * c.micro * bytes_of(describe_model(e.model)->carries(), 1);
  e.train.batch_size = kPlanRows;
  e.train.micro_batch_size = c.micro;
  e.parallel.dp = c.dp;
  e.parallel.cp = c.cp;
  e.parallel.ep = c.ep;
  e.parallel.cp_link = c.link;
  e.parallel.bucket = c.bucket;
  e.parallel.zero = c.zero;
  return e;
}

/// h100's links and memory, whatever runs there.
MachineConfig with_backend(DeviceBackend backend) {
  MachineConfig machine = load_machine("h100");
  machine.device.backend = backend;
  return machine;
}

struct Measured {
  std::map<MeshAxis, Traffic> sent;  // by all ranks
  // Of the rank that has most.
  int64_t weights = 0, rounded = 0, optimizer = 0, arena = 0, boundaries = 0, sums = 0;

  void add(const Measured& rank) {
    for (const auto& [axis, t] : rank.sent) {
      sent[axis].bytes += t.bytes;
      sent[axis].messages += t.messages;
    }
    for (auto m : {&Measured::weights, &Measured::rounded, &Measured::optimizer, &Measured::arena,
                   &Measured::boundaries, &Measured::sums})
      this->*m = std::max(this->*m, rank.*m);
  }
};

/// As Trainer::one_step goes about it.
Measured measured_step(const ExperimentConfig& config, Transport& world, const SmallBatch& rows,
                       Backend backend) {
  Context ctx(backend, 1);
  const Dtype dtype = config.device.dtype == DeviceDtype::kBf16 ? Dtype::kBF16 : Dtype::kF32;
  ProcessMesh mesh(settle_mesh(config.parallel, world.size()), world, ctx.memory());
  MeshRanks mesh_ranks(mesh, ctx, config.parallel);
  const Ranks ranks = mesh_ranks.ranks();
  AssembledModel model =
      assemble_model(config.model, dtype, true, ctx.memory(),
                     config.parallel.ep > 1 ? std::make_unique<AllToAllExchange>(mesh.ep()) : nullptr);
  initialise(model->params(), 7, 1);
  Optimizer optimizer(config.optimizer, model->params(), ranks.gradients);
  TrainStep step(*model, ctx, config, ranks);
  const StepFigures figures = step.compute(ranks.share.take(FixedRows(rows), 0, config));
  optimizer.update(ctx, 1e-3, optimizer.gradient_norm(ctx), 1);
  ranks.world.barrier(ctx);

  Measured m{.sent = {{MeshAxis::kWorld, mesh.world().traffic()},
                      {MeshAxis::kGradients, mesh.gradients().traffic()},
                      {MeshAxis::kCp, mesh.cp().traffic()},
                      {MeshAxis::kCpBackward, mesh.cp_backward().traffic()},
                      {MeshAxis::kEp, mesh.ep().traffic()},
                      {MeshAxis::kExpertData, mesh.expert_data().traffic()}}};
  m.optimizer = optimizer.bytes();
  // What is summed up lies in memory of its own, when the last segment is done.
  m.arena = std::max(ctx.arena().peak(), mesh.world().scratch_bytes());
  m.boundaries = figures.boundary_bytes;
  m.sums = mesh.scratch_bytes();
  const std::vector<Param*> params = model->params();
  m.weights = param_offsets(params, Dtype::kF32).back() * 4;
  for (const Param* p : params) m.rounded += p->rounded ? p->rounded.bytes() : 0;
  return m;
}

Measured measure(const ExperimentConfig& config, Backend backend = Backend::kReference) {
  const SmallBatch rows = small_batch(kPlanRows, config.sequence.length, *config.model.vocab_size);
  Measured all;
  std::mutex mutex;
  run_ranks(static_cast<int>(*config.parallel.dp * config.parallel.cp), 120, [&](Transport& world) {
    const Measured mine = measured_step(config, world, rows, backend);
    const std::lock_guard lock(mutex);
    all.add(mine);
  });
  return all;
}

class PlannedStep : public ::testing::TestWithParam<PlanCase> {};

TEST_P(PlannedStep, SendsWhatAStepSends) {
  const ExperimentConfig config = experiment(GetParam());
  const MachineConfig machine = with_backend(DeviceBackend::kCpu);
  const Measured measured = measure(config);
  const StepPlan plan = StepPlanner(config, machine).plan(GetParam().mesh());
  std::map<MeshAxis, Traffic> planned;
  for (const CommunicationTerm& t : plan.communication) {
    planned[t.axis].bytes += t.bytes;
    planned[t.axis].messages += t.messages;
  }
  for (const auto& [axis, sent] : measured.sent) {
    EXPECT_EQ(planned[axis].bytes, sent.bytes) << "axis " << static_cast<int>(axis);
    EXPECT_EQ(planned[axis].messages, sent.messages) << "axis " << static_cast<int>(axis);
  }
}

TEST_P(PlannedStep, HoldsWhatARankHolds) {
  const ExperimentConfig config = experiment(GetParam());
  const MachineConfig machine = with_backend(DeviceBackend::kCpu);
  const Measured measured = measure(config, Backend::kCpu);
  const StepPlan plan = StepPlanner(config, machine).plan(GetParam().mesh());
  EXPECT_EQ(plan.memory.weights, measured.weights);
  EXPECT_EQ(plan.memory.optimizer, measured.optimizer);
  // A step reports the boundaries of one micro-batch; where all are surveyed first, all hold theirs at once.
  const bool together = describe_model(config.model)->needs_tally() &&
                        (plan.micro_batches > 1 || GetParam().gradient != GradientMode::kExact);
  EXPECT_EQ(plan.memory.boundaries, measured.boundaries * (together ? plan.micro_batches : 1));
  EXPECT_GE(measured.arena, plan.memory.activations);
  // As many sums as may be under way at once are planned for; how many are is a matter of time.
  EXPECT_LE(measured.sums, plan.memory.sums);
  EXPECT_GE(measured.sums, plan.memory.sums / buckets_at_once(1));
}

// Every number of segments, thinned to any number of boundaries, together and one micro-batch after the
// other.
TEST(CountedRuns, AreThoseOfTheSchedule) {
  const ModelConfig config = small_config("ME", 1);
  AssembledModel model = small_model(config, Dtype::kF32);
  const int64_t boundary = bytes_of(model->carries(), 1);
  Context ctx(Backend::kReference, 1);
  for (const bool together : {false, true}) {
    for (int64_t segments = 1; segments <= 18; ++segments) {
      const SmallBatch batch = small_batch(1, segments, *config.vocab_size);
      const std::vector<Sequences> rows(2, batch.rows());
      for (int64_t slots : {0, 1, 2, 3, 5, 100}) {
        ExperimentConfig e;
        e.model = config;
        e.model.moe.aux_loss_coef = together ? 0.1 : 0;
        e.sequence.length = segments;
        e.sequence.boundary_memory = slots * boundary * (together ? 2 : 1);
        e.train.batch_size = 2;
        const StepResult step =
            gradients_of(*model, ctx, rows,
                         {.chunk = 1, .boundary_memory = e.sequence.boundary_memory, .needs_tally = together})
                .result;
        const StepCount count = StepCounter(e, Backend::kReference).count({.micro_batch = 1, .chunk = 1});
        EXPECT_EQ(count.forward_runs - 2 * segments, step.segments_recomputed)
            << segments << " segments, " << slots << " slots";
        EXPECT_EQ(count.memory.boundaries, step.boundary_bytes * (together ? 2 : 1))
            << segments << " segments, " << slots << " slots";
      }
    }
  }
}

// The arena rounds every view up to 256 bytes, which wide models do not notice.
class PlannedArena : public ::testing::TestWithParam<PlanCase> {};

TEST_P(PlannedArena, IsThatOfAStep) {
  const ExperimentConfig config = experiment(GetParam());
  // The CPU's kernels have scratch of their own, the reference's have none.
  for (const auto& [kernels, backend, share] :
       {std::tuple(DeviceBackend::kReference, Backend::kReference, 0.99),
        std::tuple(DeviceBackend::kCpu, Backend::kCpu, 0.88)}) {
    const auto measured = static_cast<double>(measure(config, backend).arena);
    const StepPlan plan = StepPlanner(config, with_backend(kernels)).plan(GetParam().mesh());
    const auto planned = static_cast<double>(plan.memory.activations);
    EXPECT_LE(planned, measured) << name_of(backend);
    EXPECT_GE(planned, share * measured) << name_of(backend);
  }
}

/// On a device, where there is one or in emulation, in either dtype.
class PlannedOnCuda : public ::testing::TestWithParam<PlanCase> {};

TEST_P(PlannedOnCuda, HoldsAndSendsWhatAStepDoes) {
  if (!has_cuda()) GTEST_SKIP() << "no device";
  const MachineConfig machine = with_backend(DeviceBackend::kCuda);
  for (const DeviceDtype dtype : {DeviceDtype::kFp32, DeviceDtype::kBf16}) {
    SCOPED_TRACE(dtype == DeviceDtype::kBf16 ? "bf16" : "fp32");
    ExperimentConfig config = experiment(GetParam());
    config.device.dtype = dtype;
    const Measured measured = measure(config, Backend::kCuda);
    const StepPlan plan = StepPlanner(config, machine).plan(GetParam().mesh());
    EXPECT_EQ(plan.memory.weights, measured.weights);
    EXPECT_EQ(plan.memory.rounded, measured.rounded);
    EXPECT_EQ(plan.memory.rounded > 0, dtype == DeviceDtype::kBf16);
    EXPECT_EQ(plan.memory.optimizer, measured.optimizer);
    EXPECT_LE(plan.memory.activations, measured.arena);
    EXPECT_GE(static_cast<double>(plan.memory.activations), 0.99 * static_cast<double>(measured.arena));
    int64_t planned = 0, sent = 0;
    for (const CommunicationTerm& t : plan.communication) planned += t.bytes;
    for (const auto& [axis, t] : measured.sent) sent += t.bytes;
    EXPECT_EQ(planned, sent);
  }
}

constexpr CarryLinkKind kGathered = CarryLinkKind::kScan;
INSTANTIATE_TEST_SUITE_P(
    Layouts, PlannedOnCuda,
    ::testing::Values(
        PlanCase{.name = "mamba", .length = 240, .chunk = 120, .micro = 4, .pattern = "M", .d_model = 64},
        PlanCase{.name = "large_states",  // scratch of the scan decides the peak
                 .length = 120,
                 .chunk = 60,
                 .micro = 4,
                 .pattern = "M",
                 .d_model = 64,
                 .d_state = 32},
        PlanCase{.name = "experts", .length = 240, .chunk = 240, .pattern = "E", .d_model = 64},
        PlanCase{.name = "all_kinds",
                 .dp = 2,
                 .ep = 2,
                 .length = 120,
                 .chunk = 60,
                 .micro = 3,
                 .pattern = "ME-",
                 .d_model = 64,
                 .zero = 1},
        PlanCase{.name = "scan",
                 .cp = 2,
                 .ep = 2,
                 .link = kGathered,
                 .length = 240,
                 .chunk = 60,
                 .micro = 2,
                 .pattern = "ME",
                 .d_model = 64},
        PlanCase{.name = "wide_vocabulary", .pattern = "-", .d_model = 32, .vocabulary = 20000}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Layouts, PlannedStep,
    ::testing::Values(
        PlanCase{.name = "alone"}, PlanCase{.name = "dp3", .dp = 3}, PlanCase{.name = "cp2", .cp = 2},
        PlanCase{.name = "cp3_segments", .cp = 3, .chunk = 4, .micro = 4},
        PlanCase{.name = "cp4_scan", .cp = 4, .link = kGathered, .chunk = 4, .micro = 6},
        PlanCase{.name = "dp4_ep4", .dp = 4, .ep = 4, .chunk = 20},
        PlanCase{.name = "experts_in_two_halves",
                 .dp = 2,
                 .ep = 2,
                 .length = 240,
                 .chunk = 200,
                 .micro = 6,
                 .d_model = 60},
        PlanCase{.name = "uneven_experts", .dp = 3, .ep = 3, .chunk = 20, .micro = 2},
        PlanCase{.name = "all_axes", .dp = 2, .cp = 2, .ep = 2, .chunk = 8, .micro = 3},
        PlanCase{
            .name = "all_axes_scan", .dp = 2, .cp = 2, .ep = 4, .link = kGathered, .chunk = 8, .micro = 6},
        PlanCase{.name = "thinned", .cp = 2, .ep = 2, .chunk = 3, .micro = 12, .slots = 2},
        PlanCase{.name = "thinned_scan", .cp = 2, .link = kGathered, .chunk = 3, .micro = 12, .slots = 1},
        PlanCase{.name = "no_boundary_kept", .cp = 2, .chunk = 6, .micro = 12, .slots = 0},
        PlanCase{.name = "truncated",
                 .cp = 2,
                 .ep = 2,
                 .chunk = 8,
                 .micro = 6,
                 .gradient = GradientMode::kTruncated},
        PlanCase{.name = "carried", .dp = 2, .cp = 3, .chunk = 4, .micro = 2, .carry = true},
        PlanCase{.name = "carried_scan", .cp = 2, .link = kGathered, .chunk = 6, .micro = 12, .carry = true},
        PlanCase{.name = "no_balance_loss", .cp = 2, .chunk = 8, .micro = 6, .aux = 0},
        PlanCase{.name = "gradients_in_buckets", .dp = 3, .length = 8, .chunk = 8, .vocabulary = 200'000},
        PlanCase{.name = "small_buckets", .dp = 2, .cp = 2, .ep = 2, .chunk = 8, .micro = 3, .bucket = 1000},
        PlanCase{.name = "zero", .dp = 3, .zero = 1}, PlanCase{.name = "zero_alone", .zero = 1},
        PlanCase{.name = "zero_of_owners", .dp = 4, .ep = 4, .chunk = 20, .zero = 1},
        PlanCase{.name = "zero_uneven_experts",
                 .dp = 3,
                 .ep = 3,
                 .chunk = 20,
                 .micro = 2,
                 .bucket = 500,
                 .zero = 1},
        PlanCase{.name = "zero_all_axes",
                 .dp = 2,
                 .cp = 2,
                 .ep = 2,
                 .chunk = 8,
                 .micro = 3,
                 .bucket = 1000,
                 .zero = 1},
        PlanCase{.name = "long_tally",
                 .dp = 2,
                 .length = 8,
                 .chunk = 8,
                 .pattern = "E",
                 .experts = 1024,
                 .top_k = 1},
        PlanCase{.name = "no_experts", .dp = 2, .cp = 2, .chunk = 8, .micro = 3, .pattern = "M-"},
        PlanCase{.name = "no_mamba", .cp = 2, .ep = 2, .chunk = 8, .micro = 3, .pattern = "-E"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Layouts, PlannedArena,
    ::testing::Values(
        PlanCase{.name = "alone", .length = 240, .chunk = 240, .d_model = 64},
        PlanCase{.name = "mamba", .length = 240, .chunk = 60, .micro = 4, .pattern = "M", .d_model = 64},
        PlanCase{.name = "experts",
                 .dp = 2,
                 .ep = 2,
                 .length = 240,
                 .chunk = 240,
                 .micro = 2,
                 .pattern = "ME",
                 .d_model = 64},
        PlanCase{.name = "uneven_experts",
                 .dp = 3,
                 .ep = 3,
                 .length = 240,
                 .chunk = 240,
                 .micro = 2,
                 .pattern = "E",
                 .d_model = 64},
        PlanCase{.name = "scan",
                 .cp = 4,
                 .link = kGathered,
                 .length = 240,
                 .chunk = 30,
                 .micro = 4,
                 .pattern = "M",
                 .d_model = 64},
        PlanCase{.name = "scan_of_experts",
                 .cp = 2,
                 .ep = 2,
                 .link = kGathered,
                 .length = 240,
                 .chunk = 120,
                 .micro = 2,
                 .pattern = "ME",
                 .d_model = 64},
        PlanCase{.name = "wide_vocabulary",
                 .dp = 2,
                 .micro = 3,
                 .pattern = "-",
                 .d_model = 32,
                 .vocabulary = 20000}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace natrix::test
