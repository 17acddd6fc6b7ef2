// natrix convert: there and back without a changed byte; GGUF files as models; damaged ones.
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/files/safetensors.h"
#include "core/gguf/gguf_file.h"
#include "core/hf/hf_checkpoint.h"
#include "kernels/base/check.h"
#include "tests/files.h"
#include "tests/kernels/cases.h"
#include "tests/launch/program.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;

const std::string kOracles = std::string(NATRIX_TEST_DATA) + "/oracles/";

void convert(const std::vector<std::string>& words) {
  std::vector<std::string> args = {"convert", "--quiet"};
  args.insert(args.end(), words.begin(), words.end());
  const Outcome outcome = natrix_program(args);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
}

class ConvertFamilies : public ::testing::TestWithParam<const char*> {
 protected:
  std::string model() const { return kOracles + GetParam() + "/model"; }
  ScratchDir scratch_;
};

INSTANTIATE_TEST_SUITE_P(All, ConvertFamilies,
                         ::testing::Values("mamba_tiny", "mamba_bf16", "mamba2_groups", "jamba_moe", "bamba",
                                           "llama", "falcon_mamba", "falcon_h1", "nemotron3", "granite_rope"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(ConvertFamilies, ThereAndBackGivesEveryByte) {
  convert({model(), scratch_ / "m.gguf"});
  convert({scratch_ / "m.gguf", scratch_ / "back"});
  const StoredTensors before(model(), "model"), after(scratch_ / "back", "model");
  EXPECT_EQ(before.tensors().size(), after.tensors().size());
  for (const auto& [name, tensor] : before.tensors()) {
    ASSERT_TRUE(after.contains(name)) << name;
    const View a = tensor.view, b = after.at(name).view;
    ASSERT_EQ(a.to_string(), b.to_string()) << name;
    EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<size_t>(a.bytes())), 0) << name;
  }
}

TEST_P(ConvertFamilies, TheFileScoresTokensAsTheDirectory) {
  convert({model(), scratch_ / "m.gguf"});
  const std::string tokens = kOracles + GetParam() + "/tokens.safetensors";
  for (const auto& [from, to] : {std::pair(model(), "a"), {scratch_ / "m.gguf", "b"}}) {
    const Outcome outcome = natrix_program({"score", from, "--tokens", tokens, "--out", scratch_ / to, "-q"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  const Safetensors a(scratch_ / "a"), b(scratch_ / "b");
  EXPECT_LE(relative_difference(b.at("logits"), a.at("logits")), 1e-6);
}

TEST(ConvertRun, AByteModelKeepsItsTextAndIsSmallerWhenQuantised) {
  const ScratchDir scratch;
  convert({trained_run(), scratch / "f32.gguf"});
  convert({trained_run(), scratch / "q8.gguf", "--type", "q8_0"});
  EXPECT_LT(std::filesystem::file_size(scratch / "q8.gguf"),
            std::filesystem::file_size(scratch / "f32.gguf"));
  const auto text = [&](const std::string& model) {
    return natrix_json({"generate", model, "-p", "the light ", "-n", "12", "--temp", "0"})["text"];
  };
  EXPECT_EQ(text(scratch / "f32.gguf"), text(trained_run()));
  EXPECT_EQ(natrix_json({"inspect", scratch / "f32.gguf"})["vocab_size"], 257);
}

TEST(ConvertErrors, SayWhatIsWrongAndLeaveNothing) {
  const ScratchDir scratch;
  const auto refused = [&](std::vector<std::string> args, const std::string& words) {
    const Outcome outcome = natrix_program(args);
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(words));
    EXPECT_FALSE(std::filesystem::exists(scratch / "out"));
  };
  refused({"convert", scratch / "none", scratch / "out"}, "none");
  write_file(scratch / "bad.gguf", "GGUX");
  refused({"convert", scratch / "bad.gguf", scratch / "out"}, "bad.gguf");
  refused({"inspect", scratch / "bad.gguf"}, "bad.gguf");
}

/// Any damage to a file is an error or another model: never a crash, and no memory that the file does not pay for.
TEST(GgufDamage, IsAnErrorOrAnotherHeader) {
  const ScratchDir scratch;
  convert({kOracles + "mamba_tiny/model", scratch / "m.gguf"});
  const std::string whole = read_file(scratch / "m.gguf");
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string damaged = whole;
    if (i % 4 == 0) {
      damaged.resize(static_cast<size_t>(random.integer(0, static_cast<int64_t>(whole.size()) - 1)));
    } else {
      for (int64_t n = random.integer(1, 4); n > 0; --n)
        damaged[static_cast<size_t>(random.integer(0, 8000))] = static_cast<char>(random.integer(0, 255));
    }
    try {
      const GgufFile file(damaged, "damaged");
      for (const auto& [name, tensor] : file.tensors()) EXPECT_FALSE(name.empty() && tensor.extents.empty());
    } catch (const InputError& e) {
      EXPECT_THAT(e.what(), HasSubstr("damaged"));
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace natrix::test
