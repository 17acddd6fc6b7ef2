#include "configs/suggest.h"

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
}

}  // namespace
}  // namespace natrix
