// Models packed for inference: what --weights keeps of a model, and that results do not depend on the chunk.
#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/generate/session.h"
#include "tests/launch/small_model.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

constexpr int64_t kPrompt = 41;

AssembledModel model_for_reading(const ModelConfig& config) {
  AssembledModel trained = small_model(config, Dtype::kF32),
                 reading = assemble_model(config, Dtype::kF32, false);
  const std::vector<Param*> from = trained->params(), to = reading->params();
  for (size_t i = 0; i < from.size(); ++i) copy(from[i]->value, to[i]->value);
  return reading;
}

Buffer logits_after(Model& model, Context& ctx, std::initializer_list<int64_t> pieces) {
  const SmallBatch batch = small_batch(2, kPrompt, *model.config().vocab_size);
  Session session(model, ctx, 2, 16);
  int64_t first = 0;
  for (const int64_t n : pieces) {
    session.feed(batch.tokens.view().columns(first, n));
    first += n;
  }
  return as(Dtype::kF32, session.logits());
}

std::string format_name(const ::testing::TestParamInfo<WeightFormat>& format) {
  constexpr const char* kNames[] = {"f32", "bf16", "int8"};
  return kNames[static_cast<size_t>(format.param)];
}

std::string bits(const Buffer& b) {
  return {static_cast<const char*>(b.view().data), static_cast<size_t>(b.bytes())};
}

class PackedModel : public ::testing::TestWithParam<WeightFormat> {};
INSTANTIATE_TEST_SUITE_P(Formats, PackedModel,
                         ::testing::Values(WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kInt8),
                         format_name);

TEST_P(PackedModel, ReadsTheSameInPieces) {
  for (const std::string pattern : {"ME", "M-"}) {
    AssembledModel model = model_for_reading(small_config(pattern));
    Context ctx(Backend::kCpu, 2);
    model->pack(ctx, GetParam());
    const Buffer want = logits_after(*model, ctx, {kPrompt});
    EXPECT_EQ(bits(logits_after(*model, ctx, {20, 1, 1, 1, 18})), bits(want)) << pattern;
  }
}

TEST_P(PackedModel, IsNearTheModelItself) {
  ModelConfig config = small_config();
  config.tie_embeddings = GetParam() != WeightFormat::kBF16;
  AssembledModel model = model_for_reading(config), packed = model_for_reading(config);
  Context ctx(Backend::kCpu, 1), reference(Backend::kReference);
  packed->pack(ctx, GetParam());
  const Buffer want = logits_after(*model, ctx, {kPrompt}), got = logits_after(*packed, ctx, {kPrompt}),
               plain = logits_after(*packed, reference, {kPrompt});
  if (GetParam() == WeightFormat::kF32) {
    EXPECT_EQ(bits(got), bits(want));
  } else {
    EXPECT_LT(relative_difference(got.view(), want.view()), 0.1);
    EXPECT_GT(relative_difference(got.view(), want.view()), 0.0);
  }
  EXPECT_LT(relative_difference(got.view(), plain.view()), 1e-4);
}

TEST(PackedModelOfExperts, KeepsRoutersNormsAndScansAsTheyAre) {
  AssembledModel model = model_for_reading(small_config());
  Context ctx(Backend::kCpu);
  model->pack(ctx, WeightFormat::kInt8);
  int packed = 0;
  for (const Param* p : model->params()) {
    const auto named = [&](const char* part) { return p->name.find(part) != std::string::npos; };
    EXPECT_EQ(static_cast<bool>(p->value), !p->packed) << p->name;
    const bool kept = named("router") || named("norm") || named("A_log") || named("conv1d");
    EXPECT_FALSE(kept && p->packed) << p->name;
    packed += static_cast<bool>(p->packed);
  }
  EXPECT_EQ(packed,
            13);  // the embedding, and of each of two blocks four projections and two stacks of experts
}

TEST(PackedModelWithANan, NamesTheParameterThatInt8CannotHold) {
  AssembledModel model = model_for_reading(small_config());
  const std::vector<Param*> params = model->params();
  Param* p = *std::ranges::find_if(params.rbegin(), params.rend(), &Param::packs);
  Context ctx(Backend::kCpu);
  p->value.as<float>()[3] = NAN;
  try {
    model->pack(ctx, WeightFormat::kInt8);
    ADD_FAILURE() << "packed all the same";
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), ::testing::StartsWith(p->name + " "));
  }
}

TEST(PackedModelWithGradients, IsRefused) {
  AssembledModel model = small_model(small_config(), Dtype::kF32);
  Context ctx(Backend::kCpu);
  EXPECT_THROW(model->pack(ctx, WeightFormat::kF32), ContractError);
}

TEST(Weights, ChangeTheLossOfHeldOutTextByLittle) {
  const ScratchDir scratch;
  write_file(scratch / "held-out", some_text(3000, 9));
  const auto loss = [&](const std::string& weights) {
    return natrix_json({"eval", trained_run(), "--data", scratch / "held-out", "--weights", weights})["loss"]
        .get<double>();
  };
  const double f32 = loss("f32"), bf16 = loss("bf16"), int8 = loss("int8");
  EXPECT_NEAR(bf16, f32, 0.001 * f32);
  EXPECT_NEAR(int8, f32, 0.005 * f32);
  EXPECT_NE(bf16, f32);
  EXPECT_NE(int8, f32);
}

}  // namespace
}  // namespace natrix::test
