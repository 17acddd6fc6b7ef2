// One model code under every way to cut a step: the loss and the gradients must not depend on it.
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

constexpr int64_t kBatch = 3, kLength = 53;

struct SmallStep {
  ModelConfig config = small_config();
  SmallBatch batch = small_batch(kBatch, kLength, 17);
};

TEST(ChunkedGradients, ReferenceInDoubleEqualsMonolithic) {
  SmallStep c;
  AssembledModel m = small_model(c.config, Dtype::kF64);
  Context ctx(Backend::kReference);
  const Sequences rows = c.batch.rows();
  const Gradients whole = gradients_of(*m, ctx, {&rows, 1}, {.chunk = kLength, .needs_tally = true});
  for (int64_t chunk : {32, 16, 7, 3, 1}) {
    const Gradients cut = gradients_of(*m, ctx, {&rows, 1}, {.chunk = chunk, .needs_tally = true});
    EXPECT_NEAR(cut.result.loss_sum, whole.result.loss_sum, 1e-10 * whole.result.loss_sum) << chunk;
    EXPECT_LT(difference(cut, whole), 1e-12) << "chunk " << chunk;
  }
}

class F32ChunkedGradients : public ::testing::TestWithParam<Backend> {};

TEST_P(F32ChunkedGradients, ThinnedBoundariesGiveTheSameBits) {
  SmallStep c;
  Context ctx(GetParam());
  AssembledModel m = small_model(c.config, Dtype::kF32, ctx.memory());
  const Sequences rows = c.batch.rows();
  const ScheduleOptions all{.chunk = 2, .needs_tally = true};
  const Gradients kept = gradients_of(*m, ctx, {&rows, 1}, all);
  const int64_t boundary =
      kept.result.boundary_bytes / 25;  // 27 segments, the last recorded, the first from zero
  for (int64_t slots : {20, 5, 2, 1, 0}) {
    ScheduleOptions few = all;
    few.boundary_memory = slots * boundary;
    const Gradients thinned = gradients_of(*m, ctx, {&rows, 1}, few);
    EXPECT_TRUE(same_bits(thinned, kept)) << slots;
    EXPECT_LE(thinned.result.boundary_bytes, few.boundary_memory) << slots;
    EXPECT_GT(thinned.result.segments_recomputed, kept.result.segments_recomputed) << slots;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, F32ChunkedGradients, ::testing::ValuesIn(f32_backends()), backend_name);

/// What a weight's gradient held before a step stays there until a product writes it, and must not be taken
/// for the step's.
TEST(ChunkedGradients, RefuseAWeightThatNoProductWrote) {
  for (const bool tied : {false, true}) {
    ModelConfig config = small_config();
    config.tie_embeddings = tied;
    AssembledModel m = small_model(config, Dtype::kF32);
    Context ctx(Backend::kCpu);
    const SmallBatch batch = small_batch(2, 9, *config.vocab_size);
    m->zero_gradients(ctx);
    SaveStack saved;
    LocalRoute states;
    StepTally tally;
    tally.begin_step(18);
    states.resume(nullptr);
    states.begin_segment(/*last=*/true);
    Pass pass{ctx, saved, states, tally, {.batch = 2, .tokens = 9}, Keep::kForBackward, Visit::kFirst};
    View dhidden = ctx.arena().zeros(Dtype::kF32, m->hidden(pass, batch.tokens.view()).shape);
    EXPECT_THROW(m->backward(pass, dhidden), ContractError) << tied;
  }
}

TEST(ChunkedGradients, MicroBatchesAddUpToTheWholeBatch) {
  SmallStep c;
  AssembledModel m = small_model(c.config, Dtype::kF64);
  Context ctx(Backend::kReference);
  const Sequences rows = c.batch.rows();
  std::vector<Sequences> parts;
  for (int64_t b = 0; b < kBatch; ++b) {
    parts.push_back({.tokens = rows.tokens.row_range(b, 1),
                     .targets = rows.targets.row_range(b, 1),
                     .doc_start = rows.doc_start.row_range(b, 1)});
  }
  const Gradients whole = gradients_of(*m, ctx, {&rows, 1}, {.chunk = kLength, .needs_tally = true});
  const Gradients cut = gradients_of(*m, ctx, parts, {.chunk = 11, .needs_tally = true});
  EXPECT_LT(difference(cut, whole), 1e-12);
  EXPECT_EQ(cut.result.end.size(), parts.size());
}

TEST(ChunkedGradients, TruncatedCutsTheGradientButNotTheState) {
  SmallStep c;
  AssembledModel m = small_model(c.config, Dtype::kF64);
  Context ctx(Backend::kReference);
  const Sequences rows = c.batch.rows();
  const Gradients exact = gradients_of(*m, ctx, {&rows, 1}, {.chunk = 13, .needs_tally = true});
  const Gradients cut = gradients_of(
      *m, ctx, {&rows, 1}, {.chunk = 13, .gradient = GradientMode::kTruncated, .needs_tally = true});
  EXPECT_NEAR(cut.result.loss_sum, exact.result.loss_sum, 1e-10 * exact.result.loss_sum);
  EXPECT_GT(difference(cut, exact), 1e-4);
  const Gradients one = gradients_of(
      *m, ctx, {&rows, 1}, {.chunk = kLength, .gradient = GradientMode::kTruncated, .needs_tally = true});
  const Gradients whole = gradients_of(*m, ctx, {&rows, 1}, {.chunk = kLength, .needs_tally = true});
  EXPECT_LT(difference(one, whole), 1e-14);
}

/// The whole objective: cross-entropy, load balancing and z-loss, expert counts held fixed as the gradient
/// does.
double objective(Model& model, Context& ctx, const Sequences& rows, const MoeConfig& moe,
                 const StepTally& fixed) {
  const Gradients g = gradients_of(model, ctx, {&rows, 1}, {.chunk = rows.length(), .needs_tally = true});
  const auto tokens = static_cast<double>(rows.tokens.count());
  double sum = g.result.loss_sum / tokens;
  for (const auto& [sublayer, layer] : g.tally.layers()) {
    const double *p = layer.score_sum.view().as<double>(),
                 *n = fixed.layers().at(sublayer).counts.view().as<double>();
    for (int64_t e = 0; e < moe.num_experts; ++e) {
      sum += moe.aux_loss_coef * static_cast<double>(moe.num_experts) * n[e] /
             (tokens * static_cast<double>(moe.top_k)) * p[e] / tokens;
    }
    sum += moe.z_loss_coef * layer.squared_logsumexp.view().as<double>()[0] / tokens;
  }
  return sum;
}

constexpr int kVariants = 11, kFirstHybrid = 7;
class WholeModel : public ::testing::TestWithParam<int> {};

ModelConfig variant(int i) {
  ModelConfig c = small_config();
  switch (i) {
    case 1:
      c = small_config("ME-", 1);
      c.mamba.inner_norms = false;
      c.mamba.proj_bias = true;
      c.mamba.conv_bias = false;
      break;
    case 2:
      c.tie_embeddings = false;
      c.moe.router = Router::kSigmoid;
      c.moe.renormalize = true;
      c.moe.shared_experts = 2;
      break;
    case 3:
      c.moe.activation = MlpActivation::kRelu2;
      c.moe.top_k = 1;
      c.mamba.d_conv = 2;
      break;
    case 4:
      c = small_config("M-E", 1);
      c.mlp.activation = MlpActivation::kGeglu;
      c.moe.activation = MlpActivation::kGelu;
      c.mamba.d_conv = 1;
      break;
    case 5:
      c.moe.bias_update_rate = 0.1;
      c.moe.renormalize = true;
      break;
    case 6: c.moe.capacity_factor = 0.7; break;
    case 7:
      c = small_config("S*E-", 1);
      c.attention.rope = Rope::kDefault;
      break;
    case 8:
      c = small_config("(S*)", 2);
      c.attention.window = 6;
      c.attention.rope = Rope::kYarn;
      c.attention.rope_factor = 4;
      c.attention.rope_original_length = 8;
      c.attention.rope_fraction = 0.7;
      c.attention.in_multiplier = 1.3;
      c.attention.out_multiplier = 0.7;
      c.attention.key_multiplier = 1.4;
      c.mamba2.norm_before_gate = true;
      c.mamba2.in_multiplier = 0.9;
      c.mamba2.z_multiplier = 1.2;
      c.mamba2.B_multiplier = 0.8;
      c.mamba2.dt_multiplier = 1.1;
      c.residual_multiplier = 0.6;
      break;
    case 9:
      c = small_config("S*S", 1);
      c.mamba2.norm = false;
      c.mamba2.proj_bias = c.attention.proj_bias = true;
      c.mamba2.dt_max = 0.7;
      c.attention.num_kv_heads = 4;
      c.embedding_multiplier = 2;
      c.logits_multiplier = 0.3;
      break;
    case 10:
      c = small_config("*E", 1);
      c.moe.num_experts = 6;
      c.moe.groups = 3;
      c.moe.top_groups = 2;
      c.moe.router = Router::kSigmoid;
      c.moe.renormalize = true;
      c.moe.routed_scaling = 2.5;
      c.moe.selection_bias = true;
      c.moe.latent = 5;
      c.moe.shared_experts = 1;
      c.moe.shared_d_ff = 9;
      c.mlp.gate_multiplier = 1.5;
      break;
    default: break;
  }
  return c;
}

TEST_P(WholeModel, GradientEqualsFiniteDifferences) {
  const ModelConfig config = variant(GetParam());
  AssembledModel m = small_model(config, Dtype::kF64);
  Context ctx(Backend::kReference);
  const SmallBatch batch = small_batch(2, 19, 17);
  const Sequences rows = batch.rows();
  // One segment even where a capacity drops tokens: what is dropped depends on the tokens that stand
  // together.
  const Gradients g =
      gradients_of(*m, ctx, {&rows, 1}, {.chunk = config.moe.capacity_factor ? 19 : 5, .needs_tally = true});
  size_t i = 0;
  m->visit([&](Param& p) {
    if (!p.grad) return;
    const double worst = finite_difference_error(
        p.value, g.values[i++].view(), [&] { return objective(*m, ctx, rows, config.moe, g.tally); }, 12);
    EXPECT_LT(worst, 1e-5) << p.name;
  });
}

INSTANTIATE_TEST_SUITE_P(Variants, WholeModel, ::testing::Range(0, kVariants));

class F32WholeModel : public ::testing::TestWithParam<std::tuple<Backend, int>> {};

TEST_P(F32WholeModel, EqualsTheReferenceInDouble) {
  const auto [backend, which] = GetParam();
  const ModelConfig config = variant(which);
  Context reference(Backend::kReference), ctx(backend);
  AssembledModel exact = small_model(config, Dtype::kF64),
                 fast = small_model(config, Dtype::kF32, ctx.memory());
  SmallStep c;
  const Sequences rows = c.batch.rows();
  const Gradients want = gradients_of(*exact, reference, {&rows, 1}, {.chunk = kLength, .needs_tally = true});
  for (int64_t chunk : {kLength, int64_t{16}, int64_t{5}}) {
    if (config.moe.capacity_factor && chunk < kLength) continue;
    const Gradients got = gradients_of(*fast, ctx, {&rows, 1}, {.chunk = chunk, .needs_tally = true});
    EXPECT_NEAR(got.result.loss_sum, want.result.loss_sum, 1e-6 * want.result.loss_sum) << "chunk " << chunk;
    EXPECT_LT(difference(got, want), 2e-5) << "chunk " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, F32WholeModel,
                         ::testing::Combine(::testing::ValuesIn(f32_backends()),
                                            ::testing::Range(0, kVariants)),
                         [](const auto& info) {
                           return std::string(name_of(std::get<0>(info.param))) + "_" +
                                  std::to_string(std::get<1>(info.param));
                         });

class PackedDocuments : public ::testing::TestWithParam<Backend> {};

TEST_P(PackedDocuments, PerturbingOneChangesNothingOfAnother) {
  const ModelConfig config = small_config();
  Context ctx(GetParam());
  AssembledModel m = small_model(config, Dtype::kF32, ctx.memory());
  SmallBatch batch = small_batch(1, 60, 17, 5, 0);
  for (int64_t start : {0, 17, 40}) batch.doc_start.view().as<uint8_t>()[start] = 1;
  const auto hidden = [&](int64_t chunk) {
    Buffer all(Dtype::kF32, {60, config.d_model});
    LocalRoute states;
    CutRoute none;
    SegmentSchedule schedule(*m, ctx, states, none, {.chunk = chunk});
    schedule.read(batch.rows(), [&](int64_t first, View h) {
      copy(h.reshaped({h.rows(), h.cols()}), all.view().row_range(first, h.rows()));
    });
    return all;
  };
  // Only the outer documents have targets: the gradient must then not see the middle one at all.
  int64_t* targets = batch.targets.view().as<int64_t>();
  std::fill(targets + 17, targets + 40, kIgnoreTarget);
  AssembledModel without_balance = [&] {
    ModelConfig c = config;
    c.moe.aux_loss_coef = c.moe.z_loss_coef = 0;
    return small_model(c, Dtype::kF32, ctx.memory());
  }();
  for (int64_t chunk : {60, 20, 3}) {
    const Buffer before = hidden(chunk);
    const Sequences rows = batch.rows();
    const Gradients g_before = gradients_of(*without_balance, ctx, {&rows, 1}, {.chunk = chunk});
    for (int64_t t = 17; t < 40; ++t) {
      int64_t& token = batch.tokens.view().as<int64_t>()[t];
      token = (token + 5) % 17;
    }
    const Buffer after = hidden(chunk);
    const Gradients g_after = gradients_of(*without_balance, ctx, {&rows, 1}, {.chunk = chunk});
    int64_t inside = 0;
    for (int64_t t = 0; t < 60; ++t) {
      const bool same = std::memcmp(before.view().row<float>(t), after.view().row<float>(t),
                                    sizeof(float) * static_cast<size_t>(config.d_model)) == 0;
      if (t >= 17 && t < 40) {
        inside += !same;
      } else {
        EXPECT_TRUE(same) << "chunk " << chunk << " token " << t;
      }
    }
    EXPECT_GT(inside, 20);
    EXPECT_TRUE(same_bits(g_before, g_after)) << "chunk " << chunk;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, PackedDocuments, ::testing::ValuesIn(backends()), backend_name);

}  // namespace
}  // namespace natrix::test
