// Every command that runs a model, on a GPU, against the same on the CPU. Skipped if there is no device. Runs
// are short, because an emulated step takes a tenth of a second.
#include <cmath>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "tests/kernels/cases.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

class CudaProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_cuda()) GTEST_SKIP() << "no device";
  }
};

/// The training of one run, figure by figure, close to that of another.
void expect_similar_curves(const std::string& run, const std::string& other, size_t steps) {
  const std::vector<std::string> a = curve(run), b = curve(other);
  ASSERT_EQ(a.size(), steps);
  ASSERT_EQ(b.size(), steps);
  for (size_t i = 0; i < steps; ++i) {
    const json x = json::parse(a[i]), y = json::parse(b[i]);
    for (const char* figure : {"loss", "grad_norm", "aux_loss", "z_loss"}) {
      const double want = y[figure].get<double>();
      EXPECT_NEAR(x[figure].get<double>(), want, 1e-4 * std::fabs(want)) << figure << ", step " << i + 1;
    }
    EXPECT_EQ(x["expert_load"], y["expert_load"]) << "step " << i + 1;
  }
}

// States carried from step to step and a selection bias: all that a checkpoint can hold.
const Words kEverything = {"train.steps=8",
                           "checkpoint.every=4",
                           "sequence.carry_state=true",
                           "data.order=sequential",
                           "model.moe.router=sigmoid",
                           "model.moe.shared_experts=1",
                           "model.moe.bias_update_rate=0.01",
                           "train.micro_batch_size=1"};

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST_F(CudaProgram, TrainsAsTheCpuDoesAndGoesOnFromACheckpoint) {
  const TinyRun tiny;
  const Words on_cuda = with(kEverything, {"device.backend=cuda"});
  for (const auto& [name, overrides] : {std::pair("cpu", kEverything), std::pair("cuda", on_cuda)}) {
    const Outcome outcome = tiny.train(name, overrides);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  expect_similar_curves(tiny / "cuda", tiny / "cpu", 8);

  const std::vector<std::string> once = curve(tiny / "cuda");
  const std::string end = weights(tiny / "cuda", 8);
  fs::remove_all(tiny / "cuda/checkpoints/step-00000008");
  write_file(tiny / "cuda/checkpoints/latest", "step-00000004\n");
  const Outcome again = tiny.train("cuda", on_cuda);
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("going on after step 4"));
  EXPECT_EQ(curve(tiny / "cuda"), once) << "the same bits, as if it had never stopped";
  EXPECT_EQ(weights(tiny / "cuda", 8), end);

  // A run may change its backend on the way.
  fs::remove_all(tiny / "cuda/checkpoints/step-00000008");
  write_file(tiny / "cuda/checkpoints/latest", "step-00000004\n");
  EXPECT_EQ(tiny.train("cuda", kEverything).status, 0);
  expect_similar_curves(tiny / "cuda", tiny / "cpu", 8);
}

TEST_F(CudaProgram, SaysWhereANumberStoppedBeingFinite) {
  const TinyRun tiny;
  const Outcome outcome = tiny.train("nan", {"device.backend=cuda", "train.steps=8", "optimizer.lr=1000",
                                             "optimizer.warmup_steps=0", "optimizer.clip_grad_norm=0"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("first seen in the output of sublayer 0 (M)")) << outcome.err;
}

TEST_F(CudaProgram, ReadsATextWithTheLossOfTheCpu) {
  const ScratchDir scratch;
  write_file(scratch / "text.txt", some_text(300, 5));
  for (const Words& how : {Words{}, Words{"--context", "48", "--batch-size", "3"}}) {
    const auto eval = [&](const char* backend) {
      return natrix_json(
          with({"eval", trained_run(), "--data", scratch / "text.txt", "--chunk", "32", "--backend", backend},
               how));
    };
    const json want = eval("cpu"), got = eval("cuda");
    EXPECT_EQ(got["predictions"], want["predictions"]);
    EXPECT_NEAR(got["loss"].get<double>(), want["loss"].get<double>(), 1e-5);
    EXPECT_EQ(got["loss_by_position"].size(), want["loss_by_position"].size());
  }
}

TEST_F(CudaProgram, GoesOnWithAStateOfTheCpuAndTheOtherWayRound) {
  const ScratchDir scratch;
  const auto generate = [](const char* backend, Words args) {
    args = with({"generate", trained_run(), "--temp", "0", "--backend", backend}, args);
    return natrix_json(args)["text"].get<std::string>();
  };
  const Words prompt = {"-p", "the deep was without form. let there be "};
  const std::string whole = generate("cpu", with(prompt, {"-n", "20"}));
  EXPECT_EQ(generate("cuda", with(prompt, {"-n", "20", "--chunk", "16"})), whole);
  for (const auto& [first, second] : {std::pair("cpu", "cuda"), std::pair("cuda", "cpu")}) {
    const std::string begun = generate(first, with(prompt, {"-n", "9", "--state-out", scratch / "state"}));
    EXPECT_EQ(begun + generate(second, {"-n", "11", "--state-in", scratch / "state"}), whole)
        << first << " to " << second;
  }
}

/// In bf16 too: what is summed is rounded the same, unless a library's other kernel puts it on the other side
/// of a rounding.
TEST_F(CudaProgram, VerifiesChunksAndLayouts) {
  const TinyRun tiny;
  for (const auto& [dtype, tolerance] : {std::pair("fp32", "1e-5"), std::pair("bf16", "2e-2")}) {
    const json table =
        natrix_json({"verify", tiny.config(), std::string("device.dtype=") + dtype, "--chunks", "8,32",
                     "--layouts", "dp2,cp2ep2scan,dp2cp2ep4", "--backend", "cuda", "--tolerance", tolerance});
    ASSERT_EQ(table["layouts"].size(), 3u) << table;
    EXPECT_EQ(table["equal"], true) << table;
  }
}

TEST_F(CudaProgram, ScoresAndGradientsEqualTheCpus) {
  const ScratchDir scratch;
  const std::string oracle = std::string(NATRIX_TEST_DATA) + "/oracles/jamba_moe/";
  for (const char* command : {"score", "gradients"}) {
    for (const char* backend : {"cpu", "cuda"}) {
      natrix_json({command, oracle + "model", "--tokens", oracle + "tokens.safetensors", "--out",
                   scratch / backend, "--chunk", "32", "--backend", backend});
    }
    const Safetensors want(scratch / "cpu"), got(scratch / "cuda");
    EXPECT_EQ(got.tensors().size(), want.tensors().size());
    for (const auto& [name, tensor] : want.tensors()) {
      EXPECT_LE(relative_difference(got.at(name), tensor), 1e-4) << name;
    }
  }
}

}  // namespace
}  // namespace natrix::test
