#include "configs/schema/suggest.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace natrix {
namespace {

TEST(EditDistance, CountsTheFourMistakesOfTypists) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("steps", "steps"), 0);
  EXPECT_EQ(edit_distance("stps", "steps"), 1);
  EXPECT_EQ(edit_distance("stteps", "steps"), 1);
  EXPECT_EQ(edit_distance("stbps", "steps"), 1);
  EXPECT_EQ(edit_distance("setps", "steps"), 1);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
}

TEST(EditDistance, IsSymmetric) {
  for (const char* a : {"lr", "min_lr", "rl", "learning"}) {
    for (const char* b : {"", "lr", "warmup_steps"}) EXPECT_EQ(edit_distance(a, b), edit_distance(b, a));
  }
}

TEST(NearestWord, IsNearOrNothing) {
  const std::vector<std::string> words = {"softmax", "sigmoid"};
  EXPECT_EQ(nearest_word("sofmax", words), "softmax");
  EXPECT_EQ(nearest_word("sigmoidal", words), "sigmoid");
  EXPECT_EQ(nearest_word("tanh", words), "");
  EXPECT_EQ(nearest_word(std::string(100000, 's'), words), "");
}

struct Misspelling {
  std::string word;
  std::vector<std::string> words;
  std::string suggested;  // empty: none
};

TEST(NearestWord, OfShortWordsOnlyASlipOfTheFinger) {
  const std::vector<std::string> axes = {"dp", "cp", "ep", "cp_link", "zero"};
  const std::vector<std::string> rates = {"lr", "min_lr", "eps"};
  const std::vector<std::string> backends = {"auto", "cpu", "cuda", "reference"};
  const std::vector<std::string> dtypes = {"fp32", "bf16", "fp64"};
  const Misspelling all[] = {{"", axes, ""},
                             {"p", axes, ""},
                             {"xp", axes, ""},
                             {"tp", axes, ""},
                             {"dd", axes, ""},
                             {"pc", axes, "cp"},
                             {"CP", axes, "cp"},
                             {"eps", axes, ""},
                             {"cplink", axes, "cp_link"},
                             {"zeros", axes, "zero"},
                             {"zeto", axes, "zero"},
                             {"rl", rates, "lr"},
                             {"l", rates, ""},
                             {"ls", rates, ""},
                             {"lrs", rates, ""},
                             {"esp", rates, "eps"},
                             {"ops", rates, ""},
                             {"epss", rates, "eps"},
                             {"minlr", rates, "min_lr"},
                             {"gpu", backends, ""},
                             {"cup", backends, "cpu"},
                             {"cpus", backends, "cpu"},
                             {"cuba", backends, "cuda"},
                             {"CUDA", backends, "cuda"},
                             {"fp16", dtypes, ""},
                             {"fp36", dtypes, ""},
                             {"bf61", dtypes, ""},
                             {"fp6", dtypes, "fp64"},
                             {"h200", {"h100"}, ""},
                             {"h10", {"h100"}, "h100"},
                             {"0", {"none"}, ""},
                             {"one", {"none"}, "none"},
                             {"dir", {"dir"}, "dir"},
                             {"dri", {"dir"}, "dir"},
                             {"die", {"dir"}, ""},
                             {"warmup", {"warmup_steps"}, ""},
                             {"warmpu_step", {"warmup_steps"}, "warmup_steps"}};
  for (const Misspelling& m : all) EXPECT_EQ(nearest_word(m.word, m.words), m.suggested) << m.word;
}

struct RefusedValue {
  std::string key, value;
  std::string suggested;  // empty: none
};

TEST(AcceptedSpelling, IsGivenOnlyWhereItIsMeant) {
  const RefusedValue all[] = {{"train.steps", "3.0", "3"},
                              {"train.steps", "1_000", "1000"},
                              {"train.steps", "1,000,000", "1000000"},
                              {"train.steps", "1,5", ""},
                              {"train.steps", "10_00", ""},
                              {"train.steps", "0", ""},
                              {"train.steps", "true", ""},
                              {"train.steps", "", ""},
                              {"optimizer.lr", "0,5", ""},
                              {"optimizer.lr", "off", ""},
                              {"model.tie_embeddings", "0", "false"},
                              {"model.tie_embeddings", "ON", "true"},
                              {"model.tie_embeddings", "2", ""},
                              {"model.tie_embeddings", "auto", ""},
                              {"model.tie_embeddings", "none", ""},
                              {"checkpoint.resume", "1", "auto"},
                              {"checkpoint.resume", "0", "never"},
                              {"checkpoint.resume", "none", ""},
                              {"device.threads", "0", ""},
                              {"device.threads", "off", ""},
                              {"device.threads", "true", ""},
                              {"device.threads", "none", "auto"},
                              {"device.threads", "2x", ""},
                              {"model.moe.capacity_factor", "0", "none"},
                              {"model.moe.capacity_factor", "off", "none"},
                              {"model.moe.capacity_factor", "true", ""},
                              {"model.moe.capacity_factor", "auto", ""},
                              {"parallel.timeout", "300", "300s"},
                              {"parallel.timeout", "", ""},
                              {"parallel.cp_link", "relays", "relay"},
                              {"parallel.cp_link", "0", ""},
                              {"device.backend", "gpu", ""},
                              {"device.dtype", "fp16", ""},
                              {"model.pattern", "", ""},
                              {"run.dir", "", ""},
                              {"data.batches", "", ""},
                              {"data.train", "", ""},
                              {"model.init_from", "nonne", ""}};
  for (const RefusedValue& r : all) {
    ExperimentConfig config;
    const std::vector<Field> fields = fields_of(config);
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.key == r.key; });
    ASSERT_NE(field, fields.end()) << r.key;
    EXPECT_EQ(accepted_spelling(*field, {.texts = {r.value}}), r.suggested) << r.key << "=" << r.value;
  }
}

TEST(NearestKey, PrefersNeighboursThenNamesakes) {
  const std::vector<std::string> known = {
      "extends",        "run.dir",        "model.d_model", "model.mamba.d_state",
      "model.mlp.d_ff", "model.moe.d_ff", "log.every",     "checkpoint.every"};
  EXPECT_EQ(nearest_key("model.d_mdoel", known), "model.d_model");
  EXPECT_EQ(nearest_key("model.d_state", known), "model.mamba.d_state");
  EXPECT_EQ(nearest_key("model.meo.d_ff", known), "model.moe.d_ff");
  EXPECT_EQ(nearest_key("logs.every", known), "log.every");
  EXPECT_EQ(nearest_key("checkpoints.every", known), "checkpoint.every");
  EXPECT_EQ(nearest_key("extend", known), "extends");
  EXPECT_EQ(nearest_key("zzz", known), "");
  EXPECT_EQ(nearest_key("model.mamba.dir", known), "run.dir");
  EXPECT_EQ(nearest_key("run.die", known), "");
  EXPECT_EQ(nearest_key("modle.d_modle", known), "model.d_model");
  EXPECT_EQ(nearest_key("modeld_model", known), "model.d_model");
  EXPECT_EQ(nearest_key("rum.die", known), "");
  EXPECT_EQ(nearest_key("Model.d_model", known), "model.d_model");
  EXPECT_EQ(nearest_key("/home/ada/run", known), "");
}

}  // namespace
}  // namespace natrix
