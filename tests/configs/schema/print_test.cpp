// The resolved configuration reads back as itself, tells where values come from, and has a hash.
#include <random>

#include "configs/schema/field.h"
#include "tests/configs/schema/minimal.h"
#include "tests/configs/schema/other_value.h"

namespace natrix {
namespace {

/// Everything away from its default, texts with signs that YAML could misread.
const char* kFull =
    "run: {dir: 'a: b #c', rank_logs: true}\n"
    "model:\n"
    "  pattern: \"-ME\"\n"
    "  repeat: 3\n"
    "  d_model: 48\n"
    "  vocab_size: 300\n"
    "  tie_embeddings: false\n"
    "  norm_eps: 1e-5\n"
    "  embedding_multiplier: 2\n"
    "  residual_multiplier: 0.5\n"
    "  logits_multiplier: 0.25\n"
    "  mamba: {d_state: 8, d_conv: 3, expand: 1, dt_rank: 2, inner_norms: false, inner_norm_weights: false,\n"
    "          inner_norm_eps: 1e-3, conv_bias: false, proj_bias: true}\n"
    "  mamba2: {d_state: 8, d_conv: 3, expand: 1, head_dim: 4, num_heads: 6, n_groups: 3, chunk: 16,\n"
    "           time_step_limit: [0.5, 2], norm: false, norm_before_gate: true, conv_bias: false, "
    "proj_bias: true,\n"
    "           in_multiplier: 2, out_multiplier: 3, z_multiplier: 4, x_multiplier: 5, B_multiplier: 6, "
    "C_multiplier: 7,\n"
    "           dt_multiplier: 8}\n"
    "  attention: {num_heads: 4, num_kv_heads: 2, head_dim: 6, proj_bias: true, window: 5, scale: 0.3, rope: "
    "yarn,\n"
    "              rope_theta: 500, rope_fraction: 0.5, rope_factor: 2, rope_original_length: 64,\n"
    "              rope_low_freq_factor: 2, rope_high_freq_factor: 3, rope_beta_fast: 16, rope_beta_slow: "
    "2,\n"
    "              rope_magnitude: 1.5, in_multiplier: 2, out_multiplier: 3, key_multiplier: 4}\n"
    "  mlp: {d_ff: 7, activation: geglu, gate_multiplier: 2, out_multiplier: 3}\n"
    "  moe: {num_experts: 3, top_k: 3, d_ff: 9, activation: gelu, router: sigmoid, renormalize: true, "
    "shared_experts: 1, shared_d_ff: 5, latent: 6, groups: 3, top_groups: 3, routed_scaling: 2.5,\n"
    "        selection_bias: true,\n"
    "        capacity_factor: 1.1, aux_loss_coef: 0.1, z_loss_coef: 0.2, bias_update_rate: 0.3}\n"
    "sequence: {length: 100, chunk: 10, gradient: truncated, boundary_memory: 1000001, carry_state: true}\n"
    "data: {train: ['null', \"q\\\"\\\\\"], eval: ['[x]', '- y', ./~z, \"caf\u00e9\"], tokenizer: tok, "
    "cache: c, "
    "order: "
    "sequential,\n"
    "       documents: joined}\n"
    "train: {steps: 77, batch_size: 6, micro_batch_size: 2, eval_every: 0, eval_tokens: 1, seed: 9, on_nan: "
    "skip, max_skipped: 3}\n"
    "optimizer: {lr: 0.1, min_lr: 0.01, schedule: wsd, warmup_steps: 5, decay_steps: 6, betas: [0.1, 0.2], "
    "eps: 1e-9,\n"
    "            weight_decay: 0, clip_grad_norm: 2}\n"
    "parallel: {dp: 2, cp: 3, ep: 4, cp_link: scan, zero: 1, bucket: 3MiB, timeout: 1ms, share_gpus: true}\n"
    "device: {backend: cuda, dtype: bf16, threads: 5}\n"
    "checkpoint: {every: 1, keep: 2, resume: never}\n"
    "log: {every: 3}\n";

TEST(Print, ReadsBackAsItself) {
  for (const std::string& text : {kMinimal, std::string(kFull)}) {
    const LoadedConfig first = parse(text);
    const std::string yaml = to_yaml(first, false);
    const LoadedConfig again = parse_experiment(yaml, "elsewhere/config.yaml");
    EXPECT_EQ(to_yaml(again, false), yaml);
    EXPECT_EQ(config_hash(again.config), config_hash(first.config));
    EXPECT_EQ(to_yaml(parse(to_yaml(first, true)), false), yaml) << "with origins";
  }
}

TEST(Print, NothingIsLeftAtItsDefaultByTheFullExample) {
  ExperimentConfig defaults, full = parse(kFull).config;
  const std::vector<Field> a = fields_of(defaults), b = fields_of(full);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const bool has_no_other =
        a[i].key == "optimizer.name" || a[i].key == "data.batches" || a[i].key == "model.init_from";
    EXPECT_EQ(a[i].print() == b[i].print(), has_no_other) << a[i].key;
  }
}

TEST(Print, EveryKeyOfTheModelIsPrintedReadAndHashed) {
  LoadedConfig loaded = parse(kMinimal);
  const std::string hash = config_hash(loaded.config);
  for (const Field& field : model_fields_of(loaded.config.model)) {
    if (field.key == "model.init_from") continue;
    SCOPED_TRACE(field.key);
    const Scalar before = field.get();
    ASSERT_TRUE(test::set_other_value(field));
    const std::string yaml = to_yaml(loaded, false);
    EXPECT_TRUE(
        contains(yaml, "  " + field.key.substr(field.key.rfind('.') + 1) + ": " + field.print() + "\n"));
    EXPECT_EQ(to_yaml(parse(yaml), false), yaml);
    EXPECT_NE(config_hash(loaded.config), hash);
    ASSERT_TRUE(field.set(before));
    EXPECT_EQ(config_hash(loaded.config), hash);
  }
}

// One value as text and with its type: both ways in accept the same.
TEST(Fields, AValueWithATypeIsTakenAsItsTextIs) {
  ModelConfig c;
  const std::vector<std::pair<std::string, Scalar>> values = {{"0", int64_t{0}},
                                                              {"1", int64_t{1}},
                                                              {"-1", int64_t{-1}},
                                                              {"64", int64_t{64}},
                                                              {"100001", int64_t{100001}},
                                                              {"2147483649", int64_t{2147483649}},
                                                              {"0.5", 0.5},
                                                              {"1e-16", 1e-16},
                                                              {"1e7", 1e7},
                                                              {"true", true},
                                                              {"softmax", std::string("softmax")},
                                                              {"auto", std::string("auto")},
                                                              {"none", std::string("none")}};
  c.d_model = 16;
  for (const Field& field : model_fields_of(c)) {
    if (field.is_path || field.key == "model.pattern") continue;  // any text
    const Scalar before = field.get();
    for (const auto& [text, value] : values) {
      const bool read = field.read({.texts = {text}});
      const std::string printed = field.print();
      ASSERT_TRUE(field.set(before));
      EXPECT_EQ(field.set(value), read) << field.key << " " << text;
      EXPECT_EQ(field.print(), printed) << field.key << " " << text;
      ASSERT_TRUE(field.set(before));
    }
  }
}

TEST(Print, ACheckpointsModelIsNotWrittenDown) {
  const std::string text =
      "model: {init_from: ckpt, moe: {aux_loss_coef: 0.01}}\ndata: {batches: b.safetensors}\n";
  const LoadedConfig l = parse(text);
  const std::string yaml = to_yaml(l, false);
  EXPECT_TRUE(contains(yaml, "\n    aux_loss_coef: 0.01\n")) << yaml;
  EXPECT_FALSE(contains(yaml, "d_model")) << yaml;
  const LoadedConfig again = parse(yaml);
  EXPECT_FALSE(again.was_set("model.mamba.d_state")) << "or it would have to agree with the checkpoint";
  EXPECT_EQ(to_yaml(again, false), yaml);
}

TEST(Print, EachLineSaysWhereItsValueComesFrom) {
  const std::string yaml = to_yaml(parse(kMinimal, {"train.steps=5"}), true);
  for (const char* line : {"  pattern: ME                                    # x.yaml:1\n",
                           "  steps: 5                                       # command line\n",
                           "    d_state: 16                                  # default\n",
                           "  warmup_steps: 5                                # default\n"}) {
    EXPECT_TRUE(contains(yaml, line)) << line << "in\n" << yaml;
  }
}

TEST(Print, SectionsNest) {
  const std::string yaml = to_yaml(parse(kMinimal), false);
  EXPECT_TRUE(yaml.starts_with("run:\n  dir: /")) << yaml;
  EXPECT_TRUE(contains(yaml, "\nmodel:\n  init_from: none\n  pattern: ME\n")) << yaml;
  EXPECT_TRUE(contains(yaml, "\n  mamba:\n    d_state: 16\n")) << yaml;
  EXPECT_TRUE(contains(yaml, "    proj_bias: false\n  mamba2:\n    d_state: 128\n")) << yaml;
  EXPECT_TRUE(contains(yaml, "\nsequence:\n  length: 4096\n")) << yaml;
}

TEST(Print, PathsAreAbsolute) {
  const std::string yaml = to_yaml(parse(kMinimal, {"data.eval=[held/out]", "data.tokenizer=t"}), false);
  const std::string here = std::filesystem::current_path().string();
  EXPECT_TRUE(contains(yaml, here + "/a.txt")) << yaml;
  EXPECT_TRUE(contains(yaml, here + "/held/out")) << yaml;
  EXPECT_TRUE(contains(yaml, here + "/runs/x")) << yaml;
  EXPECT_TRUE(contains(yaml, here + "/t\n")) << yaml;
}

TEST(Hash, SeesWhatDecidesTheNumbers) {
  const std::string of_minimal = config_hash(parse(kMinimal).config);
  EXPECT_EQ(of_minimal.size(), 16u);
  const auto with = [](const std::string& o) { return config_hash(parse(kMinimal, {o}).config); };
  for (const char* o : {"train.seed=2", "model.repeat=2", "optimizer.lr=1e-3", "sequence.gradient=truncated",
                        "data.train=b.txt", "data.train=[a.txt, a.txt]",
                        "data.train=[{path: a.txt, weight: 2}]", "device.dtype=bf16", "sequence.chunk=256"}) {
    EXPECT_NE(with(o), of_minimal) << o;
  }
  for (const char* o :
       {"run.dir=z", "log.every=1", "checkpoint.every=1", "checkpoint.resume=never", "device.threads=1",
        "parallel.timeout=1s", "sequence.boundary_memory=0", "data.train=moved/to/a.txt", "train.seed=1",
        "data.train=[{path: moved/a.txt}]", "data.cache=c"}) {
    EXPECT_EQ(with(o), of_minimal) << o;
  }
}

}  // namespace
}  // namespace natrix
