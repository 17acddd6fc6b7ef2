// Checkpoints with answers made by independent implementations: logits, loss, gradients, greedy continuation,
// for all backends and several chunks.
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "core/generate/session.h"
#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "launch/api/token_rows.h"
#include "tests/files.h"
#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

const std::string kOracles = std::string(NATRIX_TEST_DATA) + "/oracles/";

ModelConfig configuration(const std::string& name) {
  ModelConfig config = read_hf_config(kOracles + name + "/model");
  config.moe.aux_loss_coef = config.moe.z_loss_coef = 0;  // the answers are of the cross-entropy alone
  return config;
}

struct Oracle {
  explicit Oracle(const std::string& name, Backend backend)
      : dir(kOracles + name), facts(nlohmann::json::parse(std::ifstream(dir + "/case.json"))), ctx(backend) {
    model = load_model(dir + "/model", configuration(name), Dtype::kF32, true, ctx.memory());
  }
  std::string dir;
  nlohmann::json facts;
  Context ctx;
  AssembledModel model;
};

class OracleTest : public ::testing::TestWithParam<std::tuple<std::string, Backend>> {};

TEST_P(OracleTest, LogitsLossAndGradients) {
  Oracle o(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const Safetensors expected(o.dir + "/expected.safetensors"), gradients(o.dir + "/gradients.safetensors");
  const Buffer tokens = read_tokens(o.dir + "/tokens.safetensors", *o.model->config().vocab_size);
  const Buffer targets = next_token_targets(tokens.view());
  const int64_t batch = tokens.view().rows(), length = tokens.view().cols(),
                vocabulary = *o.model->config().vocab_size;
  for (int64_t chunk : {length, int64_t{64}, int64_t{7}, int64_t{1}}) {
    if (chunk < 64 && length > 1000) continue;
    if (chunk == 1 && o.ctx.backend() == Backend::kCuda) continue;  // emulated, that is minutes
    LocalRoute states, backwards;
    SegmentSchedule schedule(*o.model, o.ctx, states, backwards, {.chunk = chunk});
    Buffer logits = poisoned(Dtype::kF32, {batch * length, vocabulary});
    schedule.read({.tokens = tokens.view()}, [&](int64_t first, View hidden) {
      View l = o.model->head().logits(o.ctx, hidden);
      const int64_t n = hidden.extent(1);
      for (int64_t b = 0; b < batch; ++b)
        copy(l.row_range(b * n, n), logits.view().row_range(b * length + first, n));
    });
    const View want = expected.at("logits");
    EXPECT_LE(relative_difference(logits.view(), want.reshaped({batch * length, vocabulary})),
              o.facts["tolerance_logits"].get<double>())
        << chunk;

    StepTally tally;
    tally.begin_step(batch * length);
    o.model->zero_gradients(o.ctx);
    const Sequences rows{.tokens = tokens.view(), .targets = targets.view()};
    const auto predictions = static_cast<double>(batch * (length - 1));
    states.resume(nullptr);
    const StepResult result = schedule.step({&rows, 1}, 1 / predictions, tally);
    EXPECT_NEAR(result.loss_sum / predictions, o.facts["loss"].get<double>(),
                o.facts["tolerance_logits"].get<double>() * o.facts["loss"].get<double>());
    const FileTensors got(o.model->params(), &Param::grad);
    EXPECT_EQ(got.list().size(), gradients.tensors().size());
    for (const NamedTensor& t : got.list()) {
      EXPECT_LE(relative_difference(t.view, gradients.at(t.name)),
                o.facts["tolerance_gradients"].get<double>())
          << t.name << " chunk " << chunk;
    }
  }
}

TEST_P(OracleTest, GreedyContinuation) {
  Oracle o(std::get<0>(GetParam()), std::get<1>(GetParam()));
  const auto prompt = o.facts["greedy"]["prompt"].get<std::vector<int64_t>>();
  const auto want = o.facts["greedy"]["continuation"].get<std::vector<int64_t>>();
  for (int64_t chunk : {64, 5, 1}) {
    Session session(*o.model, o.ctx, 1, chunk);
    Buffer tokens(Dtype::kI64, {1, static_cast<int64_t>(prompt.size())});
    std::copy(prompt.begin(), prompt.end(), tokens.view().as<int64_t>());
    session.feed(tokens.view());
    std::vector<int64_t> got;
    while (got.size() < want.size()) {
      const float* l = session.logits().as<float>();
      got.push_back(std::max_element(l, l + *o.model->config().vocab_size) - l);
      session.feed(View(&got.back(), Dtype::kI64, {1, 1}));
    }
    EXPECT_EQ(got, want) << "chunk " << chunk;
  }
}

// What a model is saved as is what it was loaded from, byte by byte.
TEST_P(OracleTest, TensorsComeBackByteForByte) {
  Oracle o(std::get<0>(GetParam()), std::get<1>(GetParam()));
  if (o.facts["dtype"] != "float32") GTEST_SKIP() << "weights are saved in f32";
  const ScratchDir dir;
  save_weights(dir.path(), o.model->params(), {.config = hf_config_json(o.model->config(), {})});
  const StoredTensors before(o.dir + "/model", "model"), after(dir.path(), "model");
  EXPECT_EQ(before.tensors().size(), after.tensors().size());
  for (const auto& [name, tensor] : before.tensors()) {
    ASSERT_TRUE(after.contains(name)) << name;
    const View a = tensor.view, b = after.at(name).view;
    ASSERT_EQ(a.to_string(), b.to_string()) << name;
    EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())), 0) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, OracleTest,
    ::testing::Combine(::testing::Values("mamba_tiny", "mamba_untied_bias_n8_k3", "mamba_bf16", "jamba_moe",
                                         "jamba_mixed_top1_sharded", "jamba_long", "falcon_mamba",
                                         "mamba2_groups", "bamba", "llama", "falcon_h1", "falcon_h1_plain",
                                         "nemotron3", "granite_rope"),
                       ::testing::ValuesIn(backends())),
    [](const auto& info) { return std::get<0>(info.param) + "_" + name_of(std::get<1>(info.param)); });

}  // namespace
}  // namespace natrix::test
