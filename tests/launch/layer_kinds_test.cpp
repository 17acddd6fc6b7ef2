// The table of layer kinds. A layer kind from outside (tests/toy_layer) works with chunks, ranks, sessions
// and their files without further code.
#include "launch/layer_kinds.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/generate/session_file.h"
#include "tests/files.h"
#include "tests/launch/ranks.h"
#include "tests/toy_layer/decay_layer.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::string& pattern, const LayerKinds& kinds = builtin_layer_kinds()) {
  try {
    kinds.check(pattern, "book.yaml:4: model.pattern");
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

TEST(LayerKinds, AnUnknownLetterIsReportedWithTheLettersThatThereAre) {
  EXPECT_EQ(refusal("ME-M"), "");
  EXPECT_THAT(refusal("MxE"), HasSubstr("book.yaml:4: model.pattern: 'x'"));
  EXPECT_THAT(refusal("MxE"),
              HasSubstr("M (Mamba-1), S (Mamba-2), * (attention), E (mixture of experts), - (dense "
                        "MLP)"));
  EXPECT_THAT(refusal("MT"), HasSubstr("'T'"));
  EXPECT_EQ(refusal("MT", toy_kinds()), "");
  EXPECT_THROW(describe_model(small_config("MT")), InputError);
}

ExperimentConfig experiment(const ModelConfig& model, int64_t rows, int64_t length) {
  ExperimentConfig e;
  e.model = model;
  e.sequence.length = length;
  e.sequence.chunk = 5;
  e.train.batch_size = rows;
  return e;
}

class ToyLayer : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr int64_t kRows = 2, kLength = 37;
  const LayerKinds kinds = toy_kinds();
  const ModelConfig config = small_config(GetParam(), 1);
  AssembledModel model = small_model(config, Dtype::kF64, Memory::kHost, kinds);
  const SmallBatch batch = small_batch(kRows, kLength, *config.vocab_size, 5, 0.06);
};

TEST_P(ToyLayer, GradientsAreThoseOfFiniteDifferences) {
  Context ctx(Backend::kReference, 1);
  const Sequences rows = batch.rows();
  const ScheduleOptions options{.chunk = 8, .needs_tally = model->needs_tally()};
  const auto predictions = static_cast<double>(rows.tokens.count());
  const Gradients g = gradients_of(*model, ctx, {&rows, 1}, options);
  // The auxiliary losses have gradients and are no part of loss_sum; these patterns have no mixture.
  size_t tensor = 0;
  for (Param* p : model->params()) {
    if (!p->grad) continue;
    const View gradient = g.values[tensor++].view();
    const int64_t i = p->value.count() / 2;
    double& w = p->value.as<double>()[i];
    constexpr double kStep = 1e-5;
    const double before = w;
    w = before + kStep;
    const double above = gradients_of(*model, ctx, {&rows, 1}, options).result.loss_sum;
    w = before - kStep;
    const double below = gradients_of(*model, ctx, {&rows, 1}, options).result.loss_sum;
    w = before;
    EXPECT_NEAR(gradient.as<double>()[i], (above - below) / (2 * kStep) / predictions, 1e-8) << p->name;
  }
}

TEST_P(ToyLayer, ChunksDoNotMatter) {
  Context ctx(Backend::kReference, 1);
  const Sequences rows = batch.rows();
  const Gradients whole = gradients_of(*model, ctx, {&rows, 1}, {.chunk = kLength});
  for (const int64_t chunk : {16, 7, 1}) {
    for (const int64_t memory : {int64_t{1} << 30, int64_t{0}}) {
      const Gradients cut =
          gradients_of(*model, ctx, {&rows, 1}, {.chunk = chunk, .boundary_memory = memory});
      EXPECT_NEAR(cut.result.loss_sum, whole.result.loss_sum, 1e-11 * whole.result.loss_sum);
      EXPECT_LT(difference(cut, whole), 1e-11) << chunk;
    }
  }
}

TEST_P(ToyLayer, RanksDoNotMatter) {
  ExperimentConfig e = experiment(config, kRows, kLength);
  const WholeStep alone = step_alone(e, *model, batch, Backend::kReference, kinds);
  for (const CarryLinkKind link : {CarryLinkKind::kRelay, CarryLinkKind::kScan}) {
    for (const int64_t dp : {1, 2}) {
      e.parallel.dp = dp;
      e.parallel.cp = 2;
      e.parallel.cp_link = link;
      const WholeStep step = step_on_ranks(e, static_cast<int>(2 * dp), *model, batch, Backend::kReference,
                                           DeviceLink::kStaged, kinds);
      EXPECT_NEAR(step.figures.loss, alone.figures.loss, 1e-11 * alone.figures.loss);
      EXPECT_LT(difference(step, alone), 1e-10) << dp;
    }
  }
}

TEST_P(ToyLayer, ASessionGoesOnFromItsFile) {
  const ScratchDir dir;
  Context ctx(Backend::kReference, 1);
  const View tokens = batch.tokens.view();
  Session straight(*model, ctx, kRows, 4);
  straight.feed(tokens);
  const Buffer want = as(Dtype::kF64, straight.logits());

  const std::string path = dir / "x.state";
  Session before(*model, ctx, kRows, 4);
  before.feed(tokens.columns(0, 13));
  save_session(path, "hash", before);
  Session after(*model, ctx, kRows, 7);
  load_session(path, "hash", after);
  for (int64_t t = 13; t < kLength; ++t) after.feed(tokens.columns(t, 1));
  EXPECT_LT(relative_difference(after.logits(), want.view()), 1e-11);
}

TEST_P(ToyLayer, DeclaresWhatItCarries) {
  std::vector<std::string> names;
  for (const CarriedState& state : model->carries()) names.push_back(state.name);
  const std::string pattern = GetParam();
  std::vector<std::string> expected;
  if (pattern.find('P') != std::string::npos) expected.push_back("position");
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    if (pattern[i] == 'M') expected.insert(expected.end(), {layer + "conv_tail", layer + "ssm_state"});
    if (pattern[i] != 'M' && pattern[i] != '-') expected.push_back(layer + "average");
  }
  EXPECT_EQ(names, expected);
}

INSTANTIATE_TEST_SUITE_P(Patterns, ToyLayer, ::testing::Values("T", "TM-", "P", "MP-"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', 'D');
  return name;
});

TEST(LayerKinds, Bf16IsRefusedByNameWhereALayerHasNoKernels) {
  const LayerKinds& kinds = builtin_layer_kinds();
  kinds.check_bf16("ME-");
  EXPECT_EQ(kinds.without_bf16("M(S*)E"), "S (Mamba-2), * (attention)");
  try {
    kinds.check_bf16("M*E");
    FAIL();
  } catch (const InputError& e) {
    EXPECT_NE(std::string(e.what()).find("* (attention)"), std::string::npos) << e.what();
    EXPECT_EQ(std::string(e.what()).find("Mamba-2"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace natrix::test
