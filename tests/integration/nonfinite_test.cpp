// Values that are not finite while a model runs: every command names the place, ends with status 1 and leaves
// no file. Training runs that meet such values repeatedly.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/hf/hf_formats.h"
#include "core/io/state_file.h"
#include "core/sequence/diagnose.h"
#include "distributed/mpi_communicator.h"
#include "launch/assemble.h"
#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Words = std::vector<std::string>;
using Edit = std::function<void(const std::string& name, View)>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kToken = 'q';  // stands in no text of these tests but where a test puts it

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A tiny model whose head is not its embedding, and which is finite.
const std::string& good_model() {
  static const TinyRun tiny;
  static const std::string dir = [] {
    const Outcome r = tiny.train(
        "run", {"train.steps=1", "optimizer.warmup_steps=0", "model.repeat=2", "model.tie_embeddings=false"});
    if (r.status != 0) throw std::runtime_error(r.err);
    return tiny / "run/checkpoints/step-00000001";
  }();
  return dir;
}

void edit_tensors(const std::string& path, const Edit& edit) {
  std::vector<NamedTensor> tensors;
  std::vector<Buffer> copies;
  bool changed = false;
  const Safetensors file(path);
  for (const auto& [name, view] : file.tensors()) {
    Buffer& b = copies.emplace_back(view.dtype, view.shape);
    copy(view, b.view());
    edit(name, b.view());
    changed = changed || std::memcmp(b.view().data, view.data, static_cast<size_t>(view.bytes())) != 0;
    tensors.push_back({name, b.view()});
  }
  if (!changed) throw std::logic_error(path + ": no tensor is meant");
  write_safetensors(path, tensors, file.metadata());
}

/// Sets elements of every tensor whose name has this part: one, or, from −1, all of them.
Edit set(const std::string& part, int64_t element, float value) {
  return [=](const std::string& name, View v) {
    if (name.find(part) == std::string::npos) return;
    float* x = v.as<float>();
    element < 0 ? std::fill_n(x, v.count(), value) : std::fill_n(x + element, 1, value);
  };
}

/// Row kToken of the embedding.
Edit spoil_token(float value) {
  return set("embed_tokens", kToken * 16 + 3, value);
}

/// Weights, all finite, with which the first sublayer's output overflows at kToken and nowhere else.
void overflow_at_token(const std::string& name, View v) {
  if (name.find("embed_tokens") != std::string::npos) {
    for (int64_t t = 0; t < v.rows(); ++t) v.row<float>(t)[0] = t == kToken ? 1.0f : 0.0f;
  }
  if (name.find("layers.0.mamba.in_proj") != std::string::npos) {
    for (int64_t i = 0; i < v.rows(); ++i) v.row<float>(i)[0] = 1e20f;
  }
}

class NonfiniteModel : public ::testing::Test {
 protected:
  std::string model() const { return scratch_ / "model"; }
  std::string file(const std::string& name) const { return scratch_ / name; }

  void spoil(const Edit& edit) {
    fs::copy(good_model(), model());
    edit_tensors(model() + "/model.safetensors", edit);
  }

  /// Two rows of ten tokens; kToken at [1, 6] if asked for.
  void write_tokens(bool with_token) {
    Buffer tokens(Dtype::kI64, {2, 10});
    for (int64_t i = 0; i < 20; ++i) tokens.view().as<int64_t>()[i] = 'a' + i % 7;
    if (with_token) tokens.view().as<int64_t>()[16] = kToken;
    write_safetensors(file("tokens"), {{"tokens", tokens.view()}});
  }

  /// Each command that reads a model, with what it would write.
  std::vector<std::pair<Words, std::string>> commands(const std::string& text) {
    write_file(file("text"), text);
    write_tokens(text.find(static_cast<char>(kToken)) != std::string::npos);
    return {{{"score", model(), "--tokens", file("tokens"), "--out", file("out")}, "loss"},
            {{"gradients", model(), "--tokens", file("tokens"), "--out", file("out")}, "loss"},
            {{"eval", model(), "--data", file("text")}, "loss"},
            {{"eval", model(), "--data", file("text"), "--context", "8", "-b", "2"}, "loss"},
            {{"generate", model(), "-f", file("text"), "--state-out", file("out")}, "text"},
            {{"generate", model(), "--tokens", file("tokens"), "--out", file("out")}, "out"}};
  }

  /// Every command ends with status 1, says this, and leaves nothing.
  void expect_refused(const std::string& text, const std::string& said) {
    for (const auto& [words, value] : commands(text)) {
      SCOPED_TRACE(words[0]);
      const auto before = snapshot(scratch_.path());
      const Outcome r = natrix_program(with(words, {"--json", "-q", "--chunk", "4"}));
      EXPECT_EQ(r.status, 1);
      EXPECT_THAT(r.err, HasSubstr(said));
      EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
      ASSERT_TRUE(json::accept(r.out)) << r.out;
      const json object = json::parse(r.out);
      EXPECT_TRUE(object.contains(value) && object[value].is_null()) << r.out;
      EXPECT_EQ("natrix: " + object["reason"].get<std::string>() + "\n", r.err);
      EXPECT_EQ(snapshot(scratch_.path()), before) << "nothing is left";
    }
  }

  ScratchDir scratch_;
};

TEST_F(NonfiniteModel, IsNamedByTheWeight) {
  const std::pair<std::string, float> weights[] = {{"model.layers.0.mamba.in_proj.weight", kInf},
                                                   {"model.layers.1.feed_forward.router.weight", kNan},
                                                   {"model.layers.1.mamba.A_log", kNan},
                                                   {"model.final_layernorm.weight", -kInf},
                                                   {"lm_head.weight", kNan}};
  for (const auto& [name, value] : weights) {
    spoil(set(name, 5, value));
    expect_refused("abcabcabcabcabcabc", "the weight " + name + " is not finite");
    fs::remove_all(model());
  }
}

TEST_F(NonfiniteModel, IsNamedByTheExpertOfAStack) {
  spoil(set("experts.2.up_proj", 7, kNan));
  expect_refused("abc def ghi jkl mno rst uvw xyz.", "experts.2.up_proj.weight is not finite");
}

TEST_F(NonfiniteModel, IsNoMatterToTextsThatDoNotUseTheWeight) {
  spoil(spoil_token(kNan));
  for (const auto& [words, value] : commands("abcabcabcabcabcabc")) {
    SCOPED_TRACE(words[0]);
    const bool generates = words[0] == "generate";
    const Outcome r = natrix_program(with(words, generates ? Words{"-n", "0"} : Words{}));
    EXPECT_EQ(r.status, 0) << r.err;
  }
}

TEST_F(NonfiniteModel, IsSeenWhereItsTokenStands) {
  for (const float value : {kNan, kInf}) {
    spoil(spoil_token(value));
    const std::string weight = "the weight model.embed_tokens.weight is not finite; ";
    const Words places = {"row 1, position 6",   // of the tokens
                          "row 1, position 6",   //
                          "row 0, position 13",  // of the text, which a separator precedes
                          "row 1, position 5",   // of its second window
                          "row 0, position 12", "row 1, position 6"};
    const auto all = commands("abcabcabcabcqabcabc");
    for (size_t i = 0; i < all.size(); ++i) {
      for (const std::string chunk : {"1", "4", "2048"}) {
        SCOPED_TRACE(all[i].first[0] + " --chunk " + chunk);
        const Outcome r = natrix_program(with(all[i].first, {"--chunk", chunk}));
        EXPECT_EQ(r.status, 1);
        EXPECT_THAT(r.err, HasSubstr(weight + "first seen in the output of sublayer 0 (M), " + places[i]));
      }
    }
    fs::remove_all(model());
  }
}

TEST_F(NonfiniteModel, IsFoundInWhateverFormatWeightsAreKept) {
  spoil(set("layers.0.mamba.in_proj.weight", 5, kNan));
  write_tokens(false);
  for (const Words& how :
       {Words{"--weights", "bf16"}, Words{"--weights", "int8"}, Words{"--backend", "reference"},
        Words{"--backend", "reference", "--dtype", "fp64"}}) {
    const Outcome r =
        natrix_program(with({"score", model(), "--tokens", file("tokens"), "--out", file("out")}, how));
    EXPECT_EQ(r.status, 1);
    EXPECT_THAT(r.err, HasSubstr("the weight model.layers.0.mamba.in_proj.weight is not finite"));
  }
}

TEST_F(NonfiniteModel, OfFiniteWeightsIsNamedByTheSublayer) {
  spoil(set("layers.1.feed_forward.experts", -1, 3e38f));
  expect_refused("abcabcabcabcabcabc", "first seen in the output of sublayer 3 (E), row 0, position 0");
  const Outcome r = natrix_program({"generate", model(), "-p", "abc", "-n", "2"});
  EXPECT_THAT(r.err, Not(HasSubstr("the weight")));
  fs::remove_all(model());
  spoil(set("lm_head", -1, 3e38f));
  write_tokens(false);
  const Outcome head = natrix_program({"score", model(), "--tokens", file("tokens"), "--out", file("out")});
  EXPECT_THAT(head.err, HasSubstr("first seen in the logits, row 0, position 0"));
}

TEST_F(NonfiniteModel, IsTracedThroughSavedStatesAndStandardInput) {
  spoil(spoil_token(kNan));
  ASSERT_EQ(natrix_program({"generate", model(), "-p", "abc", "-n", "0", "--state-out", file("s")}).status,
            0);
  const Outcome r = natrix_program({"generate", model(), "--state-in", file("s"), "-p", "aqa", "-n", "2"});
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.err, HasSubstr("first seen in the output of sublayer 0 (M), row 0, position 4"));
  ProgramOptions options;
  options.input = "abq";
  const Outcome piped = natrix_program({"generate", model(), "-f", "-", "-n", "2"}, options);
  EXPECT_EQ(piped.status, 1);
  EXPECT_THAT(piped.err, HasSubstr("row 0, position 2 are not finite: the weight model.embed_tokens.weight"));
  const Outcome read = natrix_program(
      {"generate", model(), "-p", "abqab", "-n", "0", "--state-out", file("t"), "--json", "-q"});
  EXPECT_EQ(read.status, 1);
  EXPECT_THAT(read.err, ContainsRegex("the state layers.0.[a-z_]+ is not finite; it is not written"));
  EXPECT_THAT(read.err, HasSubstr("row 0, position 2"));
  EXPECT_THAT(read.out, HasSubstr("\"text\":null"));
  EXPECT_FALSE(fs::exists(file("t")));
}

TEST_F(NonfiniteModel, LeavesAStateThatNothingGoesOnFrom) {
  ASSERT_EQ(
      natrix_program({"generate", good_model(), "-p", "abc", "-n", "0", "--state-out", file("s")}).status, 0);
  const StateInfo info = read_state_info(file("s"));
  const CarryList carries = describe_model(read_hf_config(good_model()))->carries();
  CarryStates states = zero_states(carries, 1);
  Buffer pending(Dtype::kI64, {1, 1});
  pending.view().as<int64_t>()[0] = 'c';
  states.at({2, 1}).as<float>()[7] = kNan;
  std::vector<NamedTensor> tensors = NamedStates(carries, states).tensors();
  tensors.push_back({"pending", pending.view()});
  write_state_file(file("s"), info, tensors);
  const Outcome r = natrix_program({"generate", good_model(), "--state-in", file("s"), "-n", "2"});
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.err, HasSubstr("the state layers.2.ssm_state is not finite; nothing can go on from it"));
}

TEST_F(NonfiniteModel, EndsAllRanks) {
  if (!built_with_mpi()) GTEST_SKIP() << "this build has no MPI";
  spoil([](const std::string& name, View v) {
    spoil_token(kNan)(name, v);
    set("experts.3.down_proj", 0, kNan)(name, v);
  });
  write_file(file("text"), "abcabcabcabcabcabcabcabcaqcabcabcab");
  const std::pair<Words, const char*> cases[] = {
      {{"eval", model(), "--data", file("text"), "--chunk", "4"}, "\"loss\":null"},
      {{"eval", model(), "--data", file("text"), "-c", "8", "-b", "1"}, "\"loss\":null"},
      {{"eval", model(), "--data", file("text"), "-c", "8", "-b", "1", "parallel.ep=2"}, "\"loss\":null"},
      {{"generate", model(), "-f", file("text"), "-n", "2", "--chunk", "4"}, "\"text\":null"}};
  for (const auto& [words, value] : cases) {
    SCOPED_TRACE(words[0] + " " + words.back());
    const Outcome r = any_program(with(mpirun_words(2), with(words, {"--json", "-q", "-t", "1"})));
    EXPECT_EQ(r.status, 1) << r.err;
    EXPECT_THAT(r.out, HasSubstr(value));
    EXPECT_TRUE(json::accept(r.out)) << "one object: " << r.out;
    EXPECT_THAT(r.err,
                ContainsRegex("the weight model.embed_tokens.weight is not finite; .*first seen in the "
                              "output of sublayer [0-3] "));
  }
}

// ---- runs

/// Weights that give no finite loss, all of them finite, after the first update.
const Words kDiverges = {"optimizer.lr=1000", "optimizer.warmup_steps=0", "optimizer.clip_grad_norm=0",
                         "optimizer.schedule=constant", "train.on_nan=skip"};

TEST(SkippedSteps, EndTheRunAndKeepTheCheckpoint) {
  const TinyRun tiny;
  const Words words = with(kDiverges, {"train.max_skipped=3", "checkpoint.every=2"});
  const Outcome r = tiny.train("run", words);
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.err, HasSubstr("natrix: step 4: loss nan"));
  EXPECT_THAT(r.err,
              HasSubstr("the last of 3 steps in a row that were left out (train.max_skipped); the last "
                        "good checkpoint is that of step 0 in " +
                        tiny / "run/checkpoints"));
  EXPECT_THAT(checkpoints(tiny / "run"), ElementsAre("latest", "step-00000000"));
  // The same again, and counted anew; then with a rate that works.
  const Outcome again = tiny.train("run", words);
  EXPECT_EQ(again.status, 1);
  EXPECT_THAT(again.err, HasSubstr("natrix: step 4: loss nan"));
  const Outcome better = tiny.train("run", {"train.on_nan=skip", "train.steps=6"});
  EXPECT_EQ(better.status, 0) << better.err;
  EXPECT_EQ(newest_checkpoint(tiny / "run"), 6);
}

TEST(SkippedSteps, AreCountedInARow) {
  // A model in which one token overflows, and a learning rate of zero, so that it stays like that.
  const TinyRun tiny;
  fs::copy(good_model(), tiny / "model");
  edit_tensors(tiny / "model/model.safetensors", overflow_at_token);
  const auto run = [&](const std::string& name, const std::string& steps, const std::string& most) {
    const auto count = static_cast<int64_t>(steps.size());
    Buffer tokens(Dtype::kI64, {count, 2, 33});
    for (int64_t i = 0; i < tokens.view().count(); ++i) tokens.view().as<int64_t>()[i] = 'a' + i % 5;
    for (int64_t s = 0; s < count; ++s) {
      if (steps[static_cast<size_t>(s)] == 'x') tokens.view().as<int64_t>()[s * 66 + 40] = kToken;
    }
    write_safetensors(tiny / "batches", {{"tokens", tokens.view()}});
    return tiny.train(
        name, {"model.init_from=" + tiny / "model", "model.pattern=ME", "model.repeat=2", "data.train=[]",
               "data.batches=" + tiny / "batches", "optimizer.lr=0", "optimizer.min_lr=0",
               "optimizer.warmup_steps=0", "train.on_nan=skip", "checkpoint.every=0",
               "train.steps=" + std::to_string(count), "train.max_skipped=" + most});
  };
  const Outcome passes = run("passes", "x.xx.xx.", "3");
  EXPECT_EQ(passes.status, 0) << passes.err;
  EXPECT_THAT(passes.err, HasSubstr("sublayer 0 (M), row 1, position 7; the step is left out"));
  const Outcome stops = run("stops", "x.xx.xxx.", "3");
  EXPECT_EQ(stops.status, 1);
  EXPECT_THAT(stops.err, HasSubstr("natrix: step 8: "));
  const Outcome first = run("first", "..x.", "1");
  EXPECT_EQ(first.status, 1);
  EXPECT_THAT(first.err, HasSubstr("natrix: step 3: "));
  EXPECT_EQ(run("last", ".xx", "3").status, 0);
  EXPECT_EQ(newest_checkpoint(tiny / "last"), 3) << "the run has reached its end";
}

bool has_finite_weights(const std::string& checkpoint) {
  const Safetensors file(checkpoint + "/model.safetensors");
  return std::ranges::all_of(file.tensors(), [](const auto& t) { return all_finite(t.second); });
}

TEST(NonfiniteWeights, AreNotSavedAtTheStart) {
  const TinyRun tiny;
  fs::copy(good_model(), tiny / "model");
  edit_tensors(tiny / "model/model.safetensors", spoil_token(kNan));
  const Outcome r = tiny.train("run", {"model.init_from=" + tiny / "model", "model.repeat=2"});
  EXPECT_EQ(r.status, 1);
  EXPECT_THAT(r.err, HasSubstr("natrix: before the first step, the weight model.embed_tokens.weight is not "
                               "finite, so nothing is saved; there is no checkpoint of this run"));
  EXPECT_FALSE(fs::exists(tiny / "run/checkpoints"));
}

TEST(NonfiniteWeights, AreNotSavedAfterAnUpdate) {
  // Decay by a factor of −10^6 a step takes a row of the embedding that no text has beyond f32, while the
  // loss of the step before is finite.
  const TinyRun tiny;
  fs::copy(good_model(), tiny / "model");
  edit_tensors(tiny / "model/model.safetensors", spoil_token(1e35f));
  for (const Words& when : {Words{"train.steps=1"}, Words{"checkpoint.every=1"}}) {
    fs::remove_all(tiny / "run");
    const Outcome r = tiny.train(
        "run", with({"model.init_from=" + tiny / "model", "model.repeat=2", "optimizer.lr=1000",
                     "optimizer.weight_decay=1000", "optimizer.warmup_steps=0", "train.on_nan=skip"},
                    when));
    EXPECT_EQ(r.status, 1);
    EXPECT_THAT(r.err,
                HasSubstr("natrix: after step 1, the weight model.embed_tokens.weight is not finite, so "
                          "nothing is saved; the last good checkpoint is that of step 0"));
    EXPECT_THAT(checkpoints(tiny / "run"), ElementsAre("latest", "step-00000000"));
    EXPECT_TRUE(has_finite_weights(tiny / "run/checkpoints/step-00000000"));
  }
}

TEST(NonfiniteWeights, AreNotSavedOnASignal) {
  const TinyRun tiny;
  fs::copy(good_model(), tiny / "model");
  edit_tensors(tiny / "model/model.safetensors", spoil_token(1e35f));
  ProgramOptions options;
  options.signal_when = [&, sent = false]() mutable {
    if (sent || last_step_logged(tiny / "run") < 2) return 0;
    sent = true;
    return SIGTERM;
  };
  const Outcome r =
      tiny.train("run",
                 {"model.init_from=" + tiny / "model", "model.repeat=2", "optimizer.lr=1000",
                  "optimizer.weight_decay=1000", "optimizer.warmup_steps=0", "train.on_nan=skip",
                  "train.max_skipped=1000000", "train.steps=1000000", "checkpoint.every=0"},
                 options);
  EXPECT_EQ(r.status, 1) << "not 75: not all is saved";
  EXPECT_THAT(r.err, ContainsRegex("natrix: after step [0-9]+, the weight model.embed_tokens.weight is not"));
  EXPECT_THAT(checkpoints(tiny / "run"), ElementsAre("latest", "step-00000000"));
}

TEST(HeldOutLoss, ThatIsNotFiniteIsWarnedOf) {
  const TinyRun tiny;
  write_file(tiny / "held-out", "abcqabc");
  fs::copy(good_model(), tiny / "model");
  edit_tensors(tiny / "model/model.safetensors", overflow_at_token);
  const Outcome r = tiny.train(
      "run", {"model.init_from=" + tiny / "model", "model.repeat=2", "data.eval=[" + tiny / "held-out" + "]",
              "train.steps=1", "optimizer.lr=0", "optimizer.min_lr=0", "optimizer.warmup_steps=0"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_THAT(r.err,
              HasSubstr("step 1: the held-out loss is nan: first seen in the output of sublayer 0 (M), "
                        "row 0, position "));
}

}  // namespace
}  // namespace natrix::test
