// A dry run equals a real step in memory, messages and order of runs. Its count of work equals a count by
// hand.
#include <gtest/gtest.h>

#include "core/train/optimizer.h"
#include "core/train/train_step.h"
#include "distributed/all_to_all_exchange.h"
#include "distributed/counting_communicator.h"
#include "distributed/mesh_ranks.h"
#include "launch/plan/step_count.h"
#include "tests/launch/small_model.h"
#include "tests/toy_layer/decay_layer.h"

namespace natrix::test {
namespace {

using Kind = CountingCommunicator::Kind;

/// Every token goes to every expert, so that routing is even whatever the weights are.
ModelConfig even_config(const std::string& pattern, int64_t d_model = 12) {
  ModelConfig c = small_config(pattern, 2);
  c.d_model = d_model;
  c.moe.num_experts = c.moe.top_k = 4;
  return c;
}

Buffer dry_tensor(Dtype dtype, int64_t rows, int64_t tokens) {
  return Buffer(dtype, {rows, tokens}, Memory::kDry);
}

Batch dry_batch(int64_t rows, int64_t tokens) {
  Batch b;
  b.tokens = dry_tensor(Dtype::kI64, rows, tokens);
  b.targets = dry_tensor(Dtype::kI64, rows, tokens);
  b.doc_start = dry_tensor(Dtype::kU8, rows, tokens);
  return b;
}

struct DryStep {
  int64_t peak = 0, boundaries = 0;
  Ledger ledger;
};

DryStep dry_step(const ModelConfig& config, Backend like, int64_t rows, int64_t tokens,
                 ScheduleOptions options) {
  Context ctx(Context::Dry{like});
  AssembledModel model = assemble_model(config, Dtype::kF32, true, Memory::kDry, nullptr, toy_kinds());
  const Batch batch = dry_batch(rows, tokens);
  const Sequences all{
      .tokens = batch.tokens.view(), .targets = batch.targets.view(), .doc_start = batch.doc_start.view()};
  LocalRoute states, gradients;
  SegmentSchedule schedule(*model, ctx, states, gradients, options);
  StepTally tally;
  tally.begin_step(rows * tokens);
  const StepResult result = schedule.step({&all, 1}, 1.0, tally);
  return {.peak = ctx.arena().peak(), .boundaries = result.boundary_bytes, .ledger = ctx.ledger()};
}

TEST(DryRun, TakesAsMuchMemoryAsAStepToTheByte) {
  for (const char* pattern : {"M", "E", "-", "ME-", "T", "MPE"}) {
    const ModelConfig config = even_config(pattern);
    AssembledModel model = small_model(config, Dtype::kF32, Memory::kHost, toy_kinds());
    for (const int64_t chunk : {64, 16, 5}) {
      const ScheduleOptions options{
          .chunk = chunk, .boundary_memory = 9000, .needs_tally = model->needs_tally()};
      Context ctx(Backend::kReference, 1);
      const SmallBatch batch = small_batch(2, 64, *config.vocab_size, 3, 0.5);
      const Sequences rows = batch.rows();
      const Gradients real = gradients_of(*model, ctx, {&rows, 1}, options);
      const DryStep dry = dry_step(config, Backend::kReference, 2, 64, options);
      EXPECT_EQ(dry.peak, ctx.arena().peak()) << pattern << ", chunk " << chunk;
      EXPECT_EQ(dry.boundaries, real.result.boundary_bytes) << pattern << ", chunk " << chunk;
    }
  }
}

TEST(DryRun, IsLikeTheBackendThatItIsAskedToBeLike) {
  const ModelConfig config = even_config("M", 64);
  const auto peak = [&](Backend like) { return dry_step(config, like, 1, 256, {.chunk = 256}).peak; };
  EXPECT_GT(peak(Backend::kCpu), peak(Backend::kReference)) << "it keeps tile states";
  EXPECT_GT(peak(Backend::kCuda), peak(Backend::kReference)) << "its scan takes scratch";
}

TEST(DryRun, CountsTheWorkThatAHandCounts) {
  const ModelConfig config = even_config("ME-");
  const double T = 2 * 30, D = 12, I = 24, N = 5, R = 3, E = 4, F = 7, K = 10, V = 17, layers = 2;
  const Ledger work = dry_step(config, Backend::kCpu, 2, 30, {.chunk = 30}).ledger;
  const double dense = layers * (3 * I * D + I * (R + 2 * N) + R * I + E * D + 3 * K * D) + V * D;
  EXPECT_EQ(work.of(Work::kProducts).flops, 6 * T * dense);
  EXPECT_EQ(work.of(Work::kExpertProducts).flops, 6 * T * E * layers * 3 * F * D);
  EXPECT_EQ(work.of(Work::kScan).exps, 3.5 * T * layers * I * N);
  EXPECT_EQ(work.of(Work::kProducts).bf16_flops, 0);
  EXPECT_EQ(work.of(Work::kMaps).launches, 0);
  // Two segments: the first runs forward twice.
  const Ledger twice = dry_step(config, Backend::kCpu, 2, 30, {.chunk = 15}).ledger;
  EXPECT_EQ(twice.of(Work::kScan).exps, 4 * T * layers * I * N);
}

TEST(DryRun, HasNothingBehindItsAddresses) {
  const Buffer b = dry_tensor(Dtype::kF32, 2, 3), other = dry_tensor(Dtype::kF32, 2, 3);
  EXPECT_EQ(memory_of(b.view().data), Memory::kDry);
  EXPECT_NE(b.view().data, other.view().data);
  EXPECT_DEATH({ *static_cast<volatile float*>(b.view().data) = 1; }, "");
}

struct DryMesh {
  MeshShape shape;
  CarryLinkKind link = CarryLinkKind::kRelay;
  int64_t chunk = 4, micro = 1, zero = 0, slots = 1000;
};

/// All ranks of a step, every run of it, by TrainStep itself.
StepCount dry_ranks(const ExperimentConfig& config, const DryMesh& m) {
  StepCount sum;
  std::map<MeshAxis, Traffic> sent;
  for (int rank = 0; rank < m.shape.ranks(); ++rank) {
    Context ctx(Context::Dry{Backend::kCpu});
    ProcessMesh mesh(m.shape, rank);
    MeshRanks mesh_ranks(mesh, ctx, config.parallel);
    const Ranks ranks = mesh_ranks.ranks();
    AssembledModel model =
        assemble_model(config.model, Dtype::kF32, true, Memory::kDry,
                       m.shape.ep > 1 ? std::make_unique<AllToAllExchange>(mesh.ep()) : nullptr);
    Optimizer optimizer(config.optimizer, model->params(), ranks.gradients);
    TrainStep step(*model, ctx, config, ranks);
    int64_t tokens = 0;
    for (const RankShare::Stretch& s : ranks.share.stretches(config.sequence.length, config.sequence.chunk))
      tokens += s.count;
    const StepFigures figures = step.compute(dry_batch(config.train.batch_size / m.shape.dp, tokens));
    optimizer.update(ctx, 1e-3, optimizer.gradient_norm(ctx), 1);
    ranks.world.max(ctx, 0);
    sum.memory.activations = std::max(sum.memory.activations, ctx.arena().peak());
    sum.memory.optimizer = std::max(sum.memory.optimizer, optimizer.bytes());
    sum.memory.boundaries = std::max(sum.memory.boundaries, figures.boundary_bytes);
    sum.memory.sums = std::max(sum.memory.sums, mesh.scratch_bytes());
    for (const auto& [axis, c] : {std::pair(MeshAxis::kWorld, &mesh.world()),
                                  {MeshAxis::kGradients, &mesh.gradients()},
                                  {MeshAxis::kCp, &mesh.cp()},
                                  {MeshAxis::kCpBackward, &mesh.cp_backward()},
                                  {MeshAxis::kEp, &mesh.ep()},
                                  {MeshAxis::kExpertData, &mesh.expert_data()}}) {
      const auto& counting = static_cast<const CountingCommunicator&>(*c);
      for (const Kind kind : {Kind::kSum, Kind::kGather, Kind::kExchange, Kind::kMessage}) {
        // Each rank of an axis has counted the whole traffic of sums and gathers.
        sent[axis].bytes += counting.count(kind).mine.bytes + counting.count(kind).all.bytes / c->size();
        sent[axis].messages +=
            counting.count(kind).mine.messages + counting.count(kind).all.messages / c->size();
      }
    }
  }
  for (const auto& [axis, t] : sent)
    sum.communication.push_back({.name = {}, .axis = axis, .bytes = t.bytes, .messages = t.messages});
  return sum;
}

// Each kind of run is measured only once and then multiplied. The sums must equal those of a whole step.
TEST(StepCounter, CountsWhatEveryRankOfADryStepDoes) {
  for (const DryMesh& m : {DryMesh{}, DryMesh{.shape = {.dp = 2}, .zero = 1},
                           DryMesh{.shape = {.dp = 2, .cp = 2, .ep = 2}, .micro = 2, .slots = 2},
                           DryMesh{.shape = {.cp = 4}, .link = CarryLinkKind::kScan, .chunk = 3},
                           DryMesh{.shape = {.cp = 3, .ep = 3}, .chunk = 5, .micro = 4}}) {
    ExperimentConfig e;
    e.model = even_config("ME-");
    e.sequence.length = 48;
    e.sequence.chunk = m.chunk;
    e.sequence.boundary_memory = m.slots * m.micro * bytes_of(describe_model(e.model)->carries(), 1);
    e.train.batch_size = 4;
    e.train.micro_batch_size = m.micro;
    e.parallel.dp = m.shape.dp;
    e.parallel.cp = m.shape.cp;
    e.parallel.ep = m.shape.ep;
    e.parallel.cp_link = m.link;
    e.parallel.zero = m.zero;
    const StepCount all = dry_ranks(e, m);
    const StepCount counted =
        StepCounter(e, Backend::kCpu)
            .count({.shape = m.shape, .cp_link = m.link, .micro_batch = m.micro, .chunk = m.chunk});
    SCOPED_TRACE(testing::Message() << "dp " << m.shape.dp << ", cp " << m.shape.cp << ", ep " << m.shape.ep);
    EXPECT_EQ(counted.memory.activations, all.memory.activations);
    EXPECT_EQ(counted.memory.optimizer, all.memory.optimizer);
    EXPECT_EQ(counted.memory.sums, all.memory.sums);
    for (const CommunicationTerm& t : all.communication) {
      int64_t bytes = 0, messages = 0;
      for (const CommunicationTerm& c : counted.communication) {
        bytes += c.axis == t.axis ? c.bytes : 0;
        messages += c.axis == t.axis ? c.messages : 0;
      }
      EXPECT_NEAR(static_cast<double>(bytes), static_cast<double>(t.bytes),
                  1e-3 * static_cast<double>(t.bytes))
          << "axis " << static_cast<int>(t.axis);
      EXPECT_EQ(messages, t.messages) << "axis " << static_cast<int>(t.axis);
    }
  }
}

// The wait of a relay follows from where neighbours meet and from how long a state takes through a layer.
TEST(DryRank, SeesWhereRanksMeetAndWhatAStateWaitsFor) {
  ExperimentConfig e;
  e.model = even_config("EMEEM-E");
  e.model.repeat = 1;
  DryRank dry(e, builtin_layer_kinds(), {.dp = 2, .ep = 2}, 0, Backend::kCpu);
  const RunCost& run = dry.run({.rows = 1,
                                .tokens = 30,
                                .recorded = true,
                                .states = RunKey::Entry::kNext,
                                .gradients = RunKey::Entry::kNext});
  EXPECT_EQ(run.forward.meetings, 2)
      << "the first mixture comes before any state, the third right after another";
  const double T = 30, I = 24, N = 5;
  EXPECT_EQ(run.forward.hops.size(), 2u) << "of a convolution's tail, and of a scan's state";
  for (const Hop& hop : run.forward.hops) {
    const bool state = hop.bytes == 24 * 5 * 4;
    EXPECT_EQ(hop.work.of(Work::kScan).exps, state ? T * I * N : 0);
    EXPECT_EQ(hop.work.of(Work::kProducts).flops, 0) << "they are done before it arrives";
  }
  EXPECT_EQ(&run, &dry.run({.rows = 1,
                            .tokens = 30,
                            .recorded = true,
                            .states = RunKey::Entry::kNext,
                            .gradients = RunKey::Entry::kNext}))
      << "run once";
}

// The planner does not know this layer. Its memory and its states are found in the dry run.
TEST(StepCounter, CountsALayerThatExistsOnlyInTests) {
  ExperimentConfig e;
  e.model = even_config("MT-", 64);
  e.sequence.length = 240;
  e.sequence.chunk = 60;
  e.train.batch_size = 2;
  const LayerKinds kinds = toy_kinds();
  const StepCount count = StepCounter(e, Backend::kReference, kinds).count({.micro_batch = 2, .chunk = 60});
  AssembledModel model = small_model(e.model, Dtype::kF32, Memory::kHost, kinds);
  Context ctx(Backend::kReference, 1);
  const SmallBatch batch = small_batch(2, 240, *e.model.vocab_size, 3, 0.5);
  const Sequences rows = batch.rows();
  const Gradients step = gradients_of(*model, ctx, {&rows, 1}, {.chunk = 60});
  EXPECT_NEAR(static_cast<double>(count.memory.activations), static_cast<double>(ctx.arena().peak()),
              0.01 * static_cast<double>(ctx.arena().peak()));
  EXPECT_EQ(count.memory.boundaries, step.result.boundary_bytes);
  // And between ranks: its state and the others', once a segment.
  const StepCount ring =
      StepCounter(e, Backend::kReference, kinds).count({.shape = {.cp = 2}, .micro_batch = 2, .chunk = 120});
  const auto states = std::ranges::find(ring.communication, "states", &CommunicationTerm::name);
  ASSERT_NE(states, ring.communication.end());
  EXPECT_EQ(states->bytes, bytes_of(describe_model(e.model, nullptr, kinds)->carries(), 2));
}

}  // namespace
}  // namespace natrix::test
