// Loading a configuration: defaults, files that extend files, the command line's overrides, and
// each value's origin.
#include <limits>

#include "tests/configs/schema/minimal.h"

namespace natrix {
namespace {

TEST(Load, Defaults) {
  const ExperimentConfig c = parse(kMinimal).config;
  EXPECT_EQ(c.run.dir, "runs/x");
  EXPECT_EQ(c.model.repeat, 1);
  EXPECT_EQ(c.model.vocab_size, std::nullopt);
  EXPECT_EQ(c.model.moe.num_experts, 8);
  EXPECT_EQ(c.model.moe.top_k, 2);
  EXPECT_EQ(c.model.moe.capacity_factor, std::nullopt);
  EXPECT_EQ(c.sequence.length, 4096);
  EXPECT_EQ(c.sequence.chunk, 512);
  EXPECT_EQ(c.sequence.boundary_memory, int64_t{1} << 30);
  EXPECT_EQ(paths_of(c.data.train), std::vector<std::string>{"a.txt"});
  EXPECT_EQ(c.data.batches, "");
  EXPECT_EQ(c.data.tokenizer, "bytes");
  EXPECT_EQ(c.optimizer.warmup_steps, 100);
  EXPECT_EQ(c.optimizer.beta2, 0.95);
  EXPECT_EQ(c.parallel.timeout, 300);
  EXPECT_TRUE(c.checkpoint.resume);
}

TEST(Load, EveryKindOfValue) {
  const ExperimentConfig c =
      parse(
          "model:\n"
          "  pattern: \"ME-\"\n"
          "  d_model: 64\n"
          "  vocab_size: 257\n"
          "  tie_embeddings: false\n"
          "  mamba: {dt_rank: 5}\n"
          "  mlp: {activation: relu2}\n"
          "  moe: {router: sigmoid, capacity_factor: 1.25, bias_update_rate: 1e-3}\n"
          "sequence: {gradient: truncated, boundary_memory: 512MiB, carry_state: true}\n"
          "data: {train: [a, 'b c'], order: sequential, documents: joined}\n"
          "train: {seed: 18446744073709551615, micro_batch_size: 4, on_nan: skip}\n"
          "optimizer: {lr: 1, min_lr: .5, schedule: wsd, betas: [0, 0.99]}\n"
          "parallel: {dp: 2, cp_link: scan, timeout: 1.5m}\n"
          "device: {backend: reference, dtype: fp64, threads: 3}\n"
          "checkpoint: {resume: never}\n")
          .config;
  EXPECT_EQ(c.model.pattern, "ME-");
  EXPECT_EQ(c.model.vocab_size, 257);
  EXPECT_FALSE(c.model.tie_embeddings);
  EXPECT_EQ(c.model.mamba.dt_rank, 5);
  EXPECT_EQ(c.model.mlp.activation, MlpActivation::kRelu2);
  EXPECT_EQ(c.model.moe.router, Router::kSigmoid);
  EXPECT_EQ(c.model.moe.capacity_factor, 1.25);
  EXPECT_EQ(c.model.moe.bias_update_rate, 1e-3);
  EXPECT_EQ(c.sequence.gradient, GradientMode::kTruncated);
  EXPECT_EQ(c.sequence.boundary_memory, int64_t{512} << 20);
  EXPECT_TRUE(c.sequence.carry_state);
  EXPECT_EQ(paths_of(c.data.train), (std::vector<std::string>{"a", "b c"}));
  EXPECT_EQ(c.data.documents, Documents::kJoined);
  EXPECT_EQ(c.train.seed, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(c.train.micro_batch_size, 4);
  EXPECT_EQ(c.train.on_nan, OnNan::kSkip);
  EXPECT_EQ(c.optimizer.lr, 1.0);
  EXPECT_EQ(c.optimizer.min_lr, 0.5);
  EXPECT_EQ(c.optimizer.schedule, LrSchedule::kWsd);
  EXPECT_EQ(c.optimizer.beta1, 0.0);
  EXPECT_EQ(c.optimizer.beta2, 0.99);
  EXPECT_EQ(c.parallel.dp, 2);
  EXPECT_EQ(c.parallel.cp_link, CarryLinkKind::kScan);
  EXPECT_EQ(c.parallel.timeout, 90);
  EXPECT_EQ(c.device.backend, DeviceBackend::kReference);
  EXPECT_EQ(c.device.dtype, DeviceDtype::kFp64);
  EXPECT_EQ(c.device.threads, 3);
  EXPECT_FALSE(c.checkpoint.resume);
}

TEST(Load, SizesAndTimes) {
  const auto memory = [](const std::string& text) {
    return parse(kMinimal, {"sequence.boundary_memory=" + text}).config.sequence.boundary_memory;
  };
  EXPECT_EQ(memory("1GiB"), 1 << 30);
  EXPECT_EQ(memory("1.5KiB"), 1536);
  EXPECT_EQ(memory("100MB"), 100'000'000);
  EXPECT_EQ(memory("3kB"), 3000);
  EXPECT_EQ(memory("17"), 17);
  EXPECT_EQ(memory("17B"), 17);
  EXPECT_EQ(memory("0"), 0);
  const auto seconds = [](const std::string& text) {
    return parse(kMinimal, {"parallel.timeout=" + text}).config.parallel.timeout;
  };
  EXPECT_EQ(seconds("250ms"), 0.25);
  EXPECT_EQ(seconds("90s"), 90);
  EXPECT_EQ(seconds("5m"), 300);
  EXPECT_EQ(seconds("2h"), 7200);
}

TEST(Load, DefaultsGiveWayToTheKeysThatBoundThem) {
  const ExperimentConfig c = parse(kMinimal, {"sequence.length=64", "model.moe.num_experts=1",
                                              "optimizer.lr=1e-5", "train.steps=10"})
                                 .config;
  EXPECT_EQ(c.sequence.chunk, 64);
  EXPECT_EQ(c.model.moe.top_k, 1);
  EXPECT_EQ(c.optimizer.min_lr, 1e-5);
  EXPECT_EQ(c.optimizer.warmup_steps, 10);
}

TEST(Load, Overrides) {
  const LoadedConfig l =
      parse(kMinimal + "train: {steps: 7}\n",
            {"train.steps=8", "train.steps=9", "model.moe.top_k=1", "data.train=[b, \"c, d\"]", "run.dir=a=b",
             "optimizer.betas=[0.8,0.9]", "model.pattern=-", "device.threads=auto"});
  EXPECT_EQ(l.config.train.steps, 9) << "the last one wins";
  EXPECT_EQ(l.config.model.moe.top_k, 1);
  EXPECT_EQ(paths_of(l.config.data.train), (std::vector<std::string>{"b", "c, d"}));
  EXPECT_EQ(l.config.run.dir, "a=b");
  EXPECT_EQ(l.config.optimizer.beta1, 0.8);
  EXPECT_EQ(l.config.model.pattern, "-");
  EXPECT_EQ(paths_of(parse(kMinimal, {"data.train=one file.txt"}).config.data.train),
            std::vector<std::string>{"one file.txt"});
}

TEST(Load, KnowsWhatWasSet) {
  const LoadedConfig l =
      parse("model:\n  pattern: ME\n  d_model: 64\ndata: {train: [a]}\ntrain: {steps: 1000}\n",
            {"optimizer.lr=3e-4", "model.d_model=32"});
  EXPECT_EQ(l.origin_of("model.pattern"), "x.yaml:2");
  EXPECT_EQ(l.origin_of("model.d_model"), "command line");
  EXPECT_EQ(l.origin_of("model.repeat"), "default");
  EXPECT_TRUE(l.was_set("train.steps")) << "to the default, but set";
  EXPECT_TRUE(l.was_set("optimizer.lr"));
  EXPECT_FALSE(l.was_set("model.repeat"));
}

TEST(Load, WithACheckpointTheModelMayBeLeftOut) {
  const std::string text = "model:\n  init_from: ckpt\n  moe: {top_k: 9}\ndata: {train: [a]}\n";
  const LoadedConfig l = parse(text);
  EXPECT_EQ(l.config.model.init_from, "ckpt");
  EXPECT_EQ(l.config.model.d_model, 0);
  EXPECT_FALSE(l.was_set("model.d_model"));
  EXPECT_EQ(l.config.model.moe.top_k, 9) << "for the checkpoint to judge: num_experts is its";
  EXPECT_TRUE(contains(complaint(text, {"model.moe.num_experts=8"}), "model.moe.top_k"));
}

TEST(Load, NoneTakesAPathBack) {
  const LoadedConfig l = parse(kMinimal + "# was: batches\n", {"data.batches=b", "data.batches=none"});
  EXPECT_EQ(l.config.data.batches, "");
  EXPECT_EQ(parse(kMinimal, {"data.train=[]", "data.batches=b"}).config.data.batches, "b");
}

class LoadFiles : public ConfigFiles {};

TEST_F(LoadFiles, ExtendsIsOverriddenKeyByKey) {
  write("common/base.yaml",
        "extends: deeper.yaml\nmodel: {pattern: ME, d_model: 64}\ndata: {train: [text]}\ntrain: {steps: 5, "
        "seed: 2}\n");
  write("common/deeper.yaml", "train: {steps: 4, batch_size: 16}\n");
  const std::string path = write("mine.yaml", "train: {seed: 3}\nextends: common/base.yaml\n");
  const LoadedConfig l = load_experiment(path);
  EXPECT_EQ(l.config.train.batch_size, 16);
  EXPECT_EQ(l.config.train.steps, 5);
  EXPECT_EQ(l.config.train.seed, 3u);
  EXPECT_EQ(l.config.run.dir, "runs/mine");
  EXPECT_EQ(l.origin_of("train.seed"), path + ":1");
  EXPECT_TRUE(l.origin_of("train.steps").ends_with("common/base.yaml:4"));
  EXPECT_TRUE(l.origin_of("train.batch_size").ends_with("common/deeper.yaml:1"));
}

TEST_F(LoadFiles, ABaseMayBeSharedAndIncomplete) {
  write("base.yaml", "optimizer: {lr: 1e-3}\n");
  write("left.yaml", "extends: base.yaml\nmodel: {pattern: M, d_model: 8}\n");
  EXPECT_EQ(load_experiment(write("a.yaml", "extends: left.yaml\ndata: {train: x}\n")).config.optimizer.lr,
            1e-3);
}

TEST_F(LoadFiles, PathsAreRelativeToTheFileOrOnTheCommandLineToTheFolder) {
  write("sub/base.yaml", "data: {eval: [held-out]}\n");
  const std::string path = write("a.yaml",
                                 "extends: sub/base.yaml\n"
                                 "run: {dir: out}\n"
                                 "model: {init_from: ../ckpt}\n"
                                 "data: {train: [text, /abs/text], tokenizer: tok}\n");
  const ExperimentConfig c = load_experiment(path).config;
  const std::string folder = folder_.string();
  EXPECT_EQ(c.run.dir, folder + "/out");
  EXPECT_EQ(c.model.init_from, folder + "/../ckpt") << "not shortened: sub/.. may go through a link";
  EXPECT_EQ(paths_of(c.data.train), (std::vector<std::string>{folder + "/text", "/abs/text"}));
  EXPECT_EQ(paths_of(c.data.eval), std::vector<std::string>{folder + "/sub/held-out"});
  EXPECT_EQ(c.data.tokenizer, folder + "/tok");

  const std::vector<std::string> overrides = {"run.dir=out",          "data.train=text",
                                              "data.tokenizer=bytes", "model.init_from=none",
                                              "model.pattern=M",      "model.d_model=8"};
  const ExperimentConfig o = load_experiment(path, overrides).config;
  EXPECT_EQ(o.run.dir, "out");
  EXPECT_EQ(paths_of(o.data.train), std::vector<std::string>{"text"});
  EXPECT_EQ(o.data.tokenizer, "bytes");
  EXPECT_EQ(o.model.init_from, "");
}

TEST_F(LoadFiles, TheTrajectoryOracle) {
  const std::string path = NATRIX_TEST_DATA "/oracles/trajectory/train.yaml";
  const std::vector<std::string> overrides = {"run.dir=OUT"};
  const LoadedConfig l = load_experiment(path, overrides);
  EXPECT_EQ(l.config.run.dir, "OUT");
  EXPECT_EQ(l.config.model.init_from, NATRIX_TEST_DATA "/oracles/trajectory/model");
  EXPECT_EQ(l.config.data.batches, NATRIX_TEST_DATA "/oracles/trajectory/tokens.safetensors");
  EXPECT_EQ(l.config.sequence.chunk, 16);
  EXPECT_EQ(l.config.train.steps, 24);
  EXPECT_EQ(l.config.optimizer.lr, 3e-3);
  EXPECT_FALSE(l.was_set("model.d_model"));
  EXPECT_TRUE(l.was_set("model.moe.aux_loss_coef"));
}

TEST(Load, TheExperimentsOfTheProject) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(NATRIX_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++found;
    EXPECT_NO_THROW(load_experiment(entry.path().string())) << entry.path();
  }
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace natrix
