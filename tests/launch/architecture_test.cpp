// What the keys of the model block mean beside a checkpoint, for every key of the list of fields; and
// checkpoints whose layers are no built-in ones.
#include "launch/architecture.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "configs/schema/field.h"
#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "launch/experiment.h"
#include "tests/configs/schema/other_value.h"
#include "tests/files.h"
#include "tests/launch/program.h"
#include "tests/launch/small_model.h"
#include "tests/toy_layer/decay_layer.h"

namespace natrix::test {
namespace {

using ::testing::HasSubstr;

/// A checkpoint of random weights.
struct SavedModel {
  explicit SavedModel(const ModelConfig& c, const LayerKinds& kinds = builtin_layer_kinds())
      : config(c), model(small_model(c, Dtype::kF32, Memory::kHost, kinds)) {
    save_weights(dir.path(), model->params(), {.config = hf_config_json(c, {})});
  }

  /// An experiment that starts from it.
  Experiment adopt(const std::vector<std::string>& overrides,
                   const LayerKinds& kinds = builtin_layer_kinds()) const {
    const std::string yaml =
        "model: {init_from: " + dir.path() + "}\ndata: {batches: b.safetensors}\nsequence: {length: 8}\n";
    return resolve_experiment(
        parse_experiment(yaml, "x.yaml", overrides), 1, [](const std::string&) {}, kinds);
  }
  std::string refusal(const std::vector<std::string>& overrides) const {
    try {
      adopt(overrides);
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  }

  ModelConfig config;
  AssembledModel model;
  ScratchDir dir;
};

/// A model of family natrix in which every kind of layer and a selection bias occur.
ModelConfig our_config() {
  ModelConfig c = small_config("MEM-");
  c.mamba.dt_rank = c.dt_rank();
  c.moe.bias_update_rate = 0.5;
  c.moe.capacity_factor = 1.5;
  return c;
}

const Field& field_of(const std::vector<Field>& fields, const std::string& key) {
  return *std::ranges::find(fields, key, &Field::key);
}

std::string setting(const Field& field) {
  return field.key + "=" + field.print();
}

TEST(BesideACheckpoint, EveryKeyThatRepeatsItMustAgree) {
  const SavedModel saved(our_config());
  ModelConfig c = saved.config;
  for (const Field& field : model_fields_of(c)) {
    if (field.key == "model.init_from") continue;
    SCOPED_TRACE(field.key);
    EXPECT_EQ(saved.refusal({setting(field), "model.pattern=MEM-", "model.repeat=2"}), "");
    const Scalar old = field.get();
    ASSERT_TRUE(set_other_value(field));
    const std::string message = saved.refusal({setting(field)});
    if (field.beside_checkpoint == BesideCheckpoint::kRepeats) {
      EXPECT_THAT(message,
                  HasSubstr("command line: " + field.key + " does not agree with model.init_from ("));
      EXPECT_THAT(message, HasSubstr(saved.dir.path()));
    } else {
      EXPECT_EQ(message, "");
      ModelConfig adopted = saved.adopt({setting(field)}).config.model;
      EXPECT_EQ(field_of(model_fields_of(adopted), field.key).get(), field.get());
    }
    ASSERT_TRUE(field.set(old));
  }
}

TEST(BesideACheckpoint, WhatIsNotSetIsTheCheckpoints) {
  const SavedModel saved(our_config());
  ModelConfig adopted = saved.adopt({}).config.model;
  EXPECT_EQ(adopted.init_from, saved.dir.path());
  ModelConfig stored = saved.config;
  for (const Field& field : model_fields_of(adopted)) {
    if (field.key == "model.init_from" || field.key == "model.pattern" || field.key == "model.repeat")
      continue;
    EXPECT_EQ(field.get(), field_of(model_fields_of(stored), field.key).get()) << field.key;
  }
  EXPECT_EQ(adopted.stack(), stored.stack());
}

TEST(BesideACheckpoint, ASelectionBiasIsThereOrIsNot) {
  const SavedModel with(our_config());
  EXPECT_EQ(with.refusal({"model.moe.bias_update_rate=0.25"}), "");
  EXPECT_THAT(with.refusal({"model.moe.bias_update_rate=0"}),
              HasSubstr("model.moe.bias_update_rate does not agree"));
  const SavedModel without(small_config());
  EXPECT_THAT(without.refusal({"model.moe.bias_update_rate=0.25"}),
              HasSubstr("model.moe.bias_update_rate does not agree"));
}

TEST(BesideACheckpoint, ASettingThatAClassCannotHoldIsTheExperiments) {
  const SavedModel saved(small_config());
  ASSERT_EQ(hf_family(saved.config).model_type, "jamba");
  EXPECT_EQ(saved.adopt({}).config.model.moe.aux_loss_coef, MoeConfig().aux_loss_coef);
  EXPECT_EQ(saved.adopt({"model.moe.capacity_factor=2"}).config.model.moe.capacity_factor, 2.0);
}

TEST(BesideACheckpoint, AnotherSpellingAgrees) {
  ModelConfig c = our_config();
  c.mamba.dt_rank = 1;  // of width 12: auto
  const SavedModel saved(c);
  EXPECT_EQ(saved.refusal({"model.mamba.dt_rank=auto", "model.vocab_size=auto"}), "");
  EXPECT_EQ(saved.refusal({"model.pattern=MEM-MEM-"}), "");
  EXPECT_THAT(saved.refusal({"model.pattern=MEM-"}), HasSubstr("command line: model.pattern does not agree"));
  EXPECT_THAT(saved.refusal({"model.repeat=2"}), HasSubstr("command line: model.repeat does not agree"));
}

TEST(CheckpointLayers, ALetterWithoutALayerIsReportedWithItsFile) {
  const SavedModel saved(our_config());
  nlohmann::json config = nlohmann::json::parse(read_file(saved.dir / "config.json"));
  for (const auto& [pattern, shown] :
       {std::pair("MEX-", "'X'"), {"M+", "'+'"}, {"M\n", "'\\x0a'"}, {"é", "'\\xc3'"}}) {
    config["natrix"]["pattern"] = pattern;
    write_file(saved.dir / "config.json", config.dump());
    const std::string message = saved.refusal({});
    EXPECT_THAT(message, HasSubstr(saved.dir.path() + "/config.json: pattern \""));
    EXPECT_THAT(message, HasSubstr(std::string(": ") + shown + " is not a layer that natrix has"));
    EXPECT_THAT(message, HasSubstr("E (mixture of experts), - (dense MLP)"));
    const Outcome inspected = natrix_program({"inspect", saved.dir.path()});
    EXPECT_EQ(inspected.status, 2);
    EXPECT_THAT(inspected.err, HasSubstr("/config.json: pattern "));
    EXPECT_THAT(inspected.err, HasSubstr(shown));
  }
}

TEST(CheckpointLayers, ALayerFromOutsideIsSavedAndLoaded) {
  const LayerKinds kinds = toy_kinds();
  const SavedModel saved(small_config("TM-"), kinds);
  const Experiment e = saved.adopt({}, kinds);
  EXPECT_EQ(e.config.model.pattern, "TM-");
  EXPECT_EQ(hash_weights(e.make_model()->params()), hash_weights(saved.model->params()));
  EXPECT_THAT(saved.refusal({}), HasSubstr("'T' is not a layer"));
}

}  // namespace
}  // namespace natrix::test
