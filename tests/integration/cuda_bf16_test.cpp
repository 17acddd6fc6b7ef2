// Whole models with activations in bf16, on backend cuda: their gradients against the reference in double,
// and runs of the program against the same in fp32.
#include <cmath>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "core/generate/session.h"
#include "tests/launch/small_model.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class CudaBf16 : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_cuda()) GTEST_SKIP() << "no device";
  }
};

double root_of_squares(View v) {
  return std::sqrt(dot(v, v));
}

/// ‖got − want‖ / ‖want‖.
double relative_error(View got, View want) {
  const Buffer a = as(Dtype::kF64, got), b = as(Dtype::kF64, want);
  for (int64_t i = 0; i < a.view().count(); ++i) a.view().as<double>()[i] -= b.view().as<double>()[i];
  return root_of_squares(a.view()) / root_of_squares(b.view());
}

/// On its way a gradient is rounded, or made of what was rounded, some 12 times a sublayer (activations: what
/// a norm gives, hidden units, gates, outputs, and the weights; then the gradient of each). Each adds at most
/// half a unit in 2^-8, independently, so that they add up as their root; nonlinear functions may enlarge
/// that: 2. A tensor of a few elements, each a sum over all tokens that mostly cancels, keeps less of its
/// own: 8.
double gradient_bound(const ModelConfig& config, double constant) {
  return constant * std::sqrt(12.0 * static_cast<double>(config.stack().size())) / 256;
}

std::vector<ModelConfig> variants_in_bf16() {
  std::vector<ModelConfig> all(3, small_config("M-"));
  all[1].mamba.inner_norms = !all[1].mamba.inner_norms;
  all[1].tie_embeddings = !all[1].tie_embeddings;
  all[1].mlp.activation = MlpActivation::kRelu2;
  all[2].mamba.proj_bias = true;
  all[2].mamba.conv_bias = false;
  all[2].mlp.activation = MlpActivation::kGeglu;
  return all;
}

/// For reading, one copy of a weight is enough, and the answers keep their bits.
TEST_F(CudaBf16, ReadingNeedsNoF32BesideBf16) {
  Context cuda(Backend::kCuda);
  const SmallBatch batch = small_batch(2, 9, 17);
  for (const bool tied : {true, false}) {
    ModelConfig config = small_config();
    config.tie_embeddings = tied;
    AssembledModel model = assemble_model(config, Dtype::kBF16, /*with_gradients=*/false, cuda.memory());
    initialise(model->params(), 5, static_cast<int64_t>(config.stack().size()));
    const auto answer = [&] {
      Session session(*model, cuda, 2, 4);
      session.feed(batch.tokens.view());
      return as(Dtype::kF32, session.logits());
    };
    const Buffer before = answer();
    model->keep_rounded();
    const Buffer after = answer();
    EXPECT_EQ(relative_difference(after.view(), before.view()), 0);
    for (const Param* p : model->params()) {
      const bool looked_up = p == model->params().front();
      EXPECT_EQ(static_cast<bool>(p->value), looked_up || !p->rounded) << p->name;
    }
  }
  AssembledModel in_training = small_model(small_config(), Dtype::kBF16, cuda.memory());
  EXPECT_THROW(in_training->keep_rounded(), ContractError);
}

TEST_F(CudaBf16, GradientsAreTheReferencesButForRounding) {
  Context cuda(Backend::kCuda), reference(Backend::kReference);
  const SmallBatch batch = small_batch(3, 41, 17);
  const Sequences rows = batch.rows();
  for (const ModelConfig& config : variants_in_bf16()) {
    AssembledModel exact = small_model(config, Dtype::kF64);
    AssembledModel rounded = small_model(config, Dtype::kBF16, cuda.memory());
    EXPECT_EQ(rounded->dtype(), Dtype::kF32) << "parameters and states";
    const Gradients want = gradients_of(*exact, reference, {&rows, 1}, {.chunk = 41});
    for (const int64_t chunk : {41, 9}) {
      const Gradients got = gradients_of(*rounded, cuda, {&rows, 1}, {.chunk = chunk});
      EXPECT_NEAR(got.result.loss_sum, want.result.loss_sum, want.result.loss_sum / 256);
      double squares = 0, of_errors = 0;
      for (size_t i = 0; i < want.values.size(); ++i) {
        EXPECT_EQ(got.values[i].view().dtype, Dtype::kF32);
        const double error = relative_error(got.values[i].view(), want.values[i].view());
        const double size = dot(want.values[i].view(), want.values[i].view());
        EXPECT_LE(error, gradient_bound(config, 8)) << want.names[i] << ", chunk " << chunk;
        squares += size;
        of_errors += error * error * size;
      }
      EXPECT_LE(std::sqrt(of_errors / squares), gradient_bound(config, 2)) << "all together, chunk " << chunk;
    }
  }
}

/// Truncation and recomputation in bf16 repeat bit for bit, as in f32.
TEST_F(CudaBf16, ThinnedBoundariesGiveTheSameBits) {
  Context cuda(Backend::kCuda);
  AssembledModel m = small_model(small_config(), Dtype::kBF16, cuda.memory());
  const SmallBatch batch = small_batch(2, 33, 17);
  const Sequences rows = batch.rows();
  ScheduleOptions options{.chunk = 4, .needs_tally = true};
  const Gradients kept = gradients_of(*m, cuda, {&rows, 1}, options);
  options.boundary_memory = 0;
  EXPECT_TRUE(same_bits(gradients_of(*m, cuda, {&rows, 1}, options), kept));
}

double logged(const std::string& run, size_t step, const char* figure) {
  return json::parse(curve(run).at(step))[figure].get<double>();
}

TEST_F(CudaBf16, TrainsAsInFp32AndGoesOnFromACheckpoint) {
  const TinyRun tiny;
  const std::vector<std::string> shared = {"device.backend=cuda", "train.steps=12", "checkpoint.every=6",
                                           "model.moe.shared_experts=1"};
  for (const char* dtype : {"fp32", "bf16"}) {
    std::vector<std::string> words = shared;
    words.push_back(std::string("device.dtype=") + dtype);
    const Outcome outcome = tiny.train(dtype, words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  for (size_t step = 0; step < 12; ++step) {
    // The loss of near ln V that a small model has moves with its logits, by at most 2 max |Δ logit|: those
    // are about 1 here, and each is a product of two numbers rounded by 2^-8.
    const double want = logged(tiny / "fp32", step, "loss");
    EXPECT_NEAR(logged(tiny / "bf16", step, "loss"), want, 4.0 / 256) << "step " << step + 1;
  }
  EXPECT_LT(logged(tiny / "bf16", 11, "loss"), logged(tiny / "bf16", 0, "loss") - 0.2);
  EXPECT_NE(curve(tiny / "bf16"), curve(tiny / "fp32")) << "not bf16 at all";

  // Masters are saved, not their copies.
  const Safetensors saved(tiny / "bf16/checkpoints/step-00000012/model.safetensors");
  for (const auto& [name, tensor] : saved.tensors()) EXPECT_EQ(tensor.dtype, Dtype::kF32) << name;
  const std::vector<std::string> once = curve(tiny / "bf16");
  const std::string end = weights(tiny / "bf16", 12);
  std::filesystem::remove_all(tiny / "bf16/checkpoints/step-00000012");
  write_file(tiny / "bf16/checkpoints/latest", "step-00000006\n");
  std::vector<std::string> words = shared;
  words.push_back("device.dtype=bf16");
  const Outcome again = tiny.train("bf16", words);
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("going on after step 6"));
  EXPECT_EQ(curve(tiny / "bf16"), once);
  EXPECT_EQ(weights(tiny / "bf16", 12), end) << "the same bits, as if it had never stopped";
}

TEST_F(CudaBf16, ReadsAndWritesText) {
  const ScratchDir scratch;
  write_file(scratch / "text.txt", some_text(300, 5));
  const auto loss = [&](const char* dtype) {
    return natrix_json({"eval", trained_run(), "--data", scratch / "text.txt", "--chunk", "32", "--backend",
                        "cuda", "--dtype", dtype})["loss"]
        .get<double>();
  };
  const double fp32 = loss("fp32"), bf16 = loss("bf16");
  EXPECT_NEAR(bf16, fp32, 0.05 * fp32);
  EXPECT_NE(bf16, fp32);

  const auto generate = [&](std::vector<std::string> args) {
    std::vector<std::string> words = {"generate",  trained_run(), "--temp",  "0",
                                      "--backend", "cuda",        "--dtype", "bf16"};
    words.insert(words.end(), args.begin(), args.end());
    return natrix_json(words)["text"].get<std::string>();
  };
  const std::string prompt = "the deep was without form. let there be ";
  const std::string whole = generate({"-p", prompt, "-n", "16"});
  EXPECT_EQ(generate({"-p", prompt, "-n", "16"}), whole);
  const std::string begun = generate({"-p", prompt, "-n", "7", "--state-out", scratch / "state"});
  EXPECT_EQ(begun + generate({"-n", "9", "--state-in", scratch / "state"}), whole)
      << "through a file of f32 states";
}

TEST(Bf16, IsRefusedWhereItIsNotComputedIn) {
  const TinyRun tiny;
  const Outcome train = tiny.train("refused", {"device.backend=cpu", "device.dtype=bf16"});
  EXPECT_EQ(train.status, 2);
  EXPECT_THAT(train.err,
              HasSubstr("device.dtype: bf16 needs device.backend: cuda; the CPU computes in fp32"));
  const Outcome score = natrix_program({"generate", trained_run(), "-p", "the", "--dtype", "bf16"});
  EXPECT_EQ(score.status, 2);
  EXPECT_THAT(score.err,
              HasSubstr("--dtype bf16: the cpu backend computes in fp32; bf16 needs --backend cuda"));
}

}  // namespace
}  // namespace natrix::test
