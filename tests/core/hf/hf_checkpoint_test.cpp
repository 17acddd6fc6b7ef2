// Weights in a directory: round trips in one file and in shards, and directories that hold something else.
#include "core/hf/hf_checkpoint.h"

#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/hf/hf_formats.h"
#include "core/tokenizers/byte_tokenizer_json.h"
#include "kernels/base/buffer.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::json;
using test::mentions;
using test::message_of;
using test::ScratchDir;

/// Parameters as a model declares them: whole ones, a [I,K] one stored as [I,1,K], and a stack of three
/// experts.
struct ToyModel {
  explicit ToyModel(Dtype dtype = Dtype::kF32, float first = 1) {
    config.pattern = "M";
    config.d_model = 4;
    config.vocab_size = 10;
    config.mamba.inner_norms = false;
    add(dtype, "embedding", {10, 4}, {{"backbone.embeddings.weight", {10, 4}, 0}});
    add(dtype, "conv", {8, 3}, {{"conv1d.weight", {8, 1, 3}, 0}});
    add(dtype, "experts", {3, 5, 4},
        {{"experts.0.up", {5, 4}, 0}, {"experts.1.up", {5, 4}, 20}, {"experts.2.up", {5, 4}, 40}});
    for (Param& p : params) {
      for_float(dtype, [&](auto zero) {
        for (int64_t i = 0; i < p.value.count(); ++i) {
          p.value.as<decltype(zero)>()[i] = static_cast<decltype(zero)>(first) / 3;
          first += 1;
        }
      });
    }
  }

  void add(Dtype dtype, const char* name, Shape shape, std::vector<ParamPart> parts) {
    Param p;
    p.name = name;
    p.shape = shape;
    p.parts = std::move(parts);
    p.value = values.emplace_back(dtype, shape).view();
    params.push_back(p);
  }

  std::vector<Param*> list() {
    std::vector<Param*> pointers;
    for (Param& p : params) pointers.push_back(&p);
    return pointers;
  }
  std::string text() const { return hf_config_json(config, {}); }

  ModelConfig config;
  std::vector<Param> params;
  std::vector<Buffer> values;
};

/// The toy's tensors as a file would hold them, for tests that change one.
class StoredToy {
 public:
  StoredToy() : tensors_(named_parts(toy_.list(), &Param::value)) {}
  NamedTensor& operator[](const std::string& name) {
    for (NamedTensor& t : tensors_) {
      if (t.name == name) return t;
    }
    throw std::runtime_error("no tensor " + name);
  }
  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const NamedTensor& t) { return t.name == name; });
  }
  void add(const std::string& name, Dtype dtype, Shape shape) {
    tensors_.push_back({name, extra_.emplace_back(dtype, shape).view()});
  }
  void write(const std::string& path) const { write_safetensors(path, tensors_); }

 private:
  ToyModel toy_;
  std::vector<Buffer> extra_;
  std::vector<NamedTensor> tensors_;
};

void expect_equal(ToyModel& a, ToyModel& b) {
  for (size_t i = 0; i < a.params.size(); ++i) {
    EXPECT_EQ(std::memcmp(a.params[i].value.data, b.params[i].value.data,
                          static_cast<size_t>(a.params[i].value.bytes())),
              0)
        << a.params[i].name;
  }
}

std::string load_error(const std::string& dir) {
  ToyModel toy;
  const std::string message = message_of<InputError>([&] { load_weights(dir, toy.config, toy.list()); });
  EXPECT_TRUE(mentions(message, dir));
  EXPECT_EQ(message, message_of<InputError>([&] { check_weights(dir, toy.config, toy.list()); }));
  return message;
}

TEST(HfCheckpoint, RoundTripsInOneFileAndInShards) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kF64}) {
    for (const int64_t shard : {kMaxShardBytes, int64_t{200}, int64_t{1}}) {
      const ScratchDir dir;
      ToyModel saved(dtype, 5), loaded(dtype);
      save_weights(dir.path(), saved.list(), {.config = saved.text()}, shard);
      load_weights(dir.path(), loaded.config, loaded.list());
      expect_equal(saved, loaded);
      EXPECT_EQ(hash_weights(saved.list()), hash_weights(loaded.list()));
    }
  }
}

TEST(HfCheckpoint, ShardsAreNamedAndIndexedAsTransformersExpects) {
  const ScratchDir dir;
  ToyModel toy;
  save_weights(dir.path(), toy.list(), {.config = toy.text()}, 1);
  const json index = json::parse(test::read_file(dir / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], (40 + 24 + 60) * 4);
  EXPECT_EQ(index["weight_map"]["experts.2.up"], "model-00005-of-00005.safetensors");
  EXPECT_FALSE(std::filesystem::exists(dir / "model.safetensors"));
}

TEST(HfCheckpoint, ASecondSaveReplacesTheFirstWhateverItsFiles) {
  const ScratchDir dir;
  ToyModel first(Dtype::kF32, 1), second(Dtype::kF32, 2), loaded;
  for (const auto& [before, after] : {std::pair{kMaxShardBytes, int64_t{1}}, {int64_t{1}, kMaxShardBytes}}) {
    save_weights(dir.path(), first.list(), {.config = first.text()}, before);
    save_weights(dir.path(), second.list(), {.config = second.text()}, after);
    load_weights(dir.path(), loaded.config, loaded.list());
    expect_equal(second, loaded);
  }
}

TEST(HfCheckpoint, ConvertsStoredDtypes) {
  const ScratchDir dir;
  ToyModel saved(Dtype::kF64, 4), loaded(Dtype::kF32);
  save_weights(dir.path(), saved.list(), {.config = saved.text()});
  load_weights(dir.path(), loaded.config, loaded.list());
  EXPECT_EQ(loaded.params[2].value.as<float>()[7], static_cast<float>(saved.params[2].value.as<double>()[7]));
}

TEST(HfCheckpoint, WritesTheTextsBesideTheWeights) {
  const ScratchDir dir;
  ToyModel toy;
  save_weights(dir.path(), toy.list(),
               {.config = hf_config_json(toy.config, 256), .tokenizer = byte_tokenizer_files(257)});
  EXPECT_EQ(read_hf_config(dir.path()).d_model, 4);
  EXPECT_EQ(json::parse(test::read_file(dir / "generation_config.json"))["eos_token_id"], 256);
  const json tokenizer = json::parse(test::read_file(dir / "tokenizer.json"));
  EXPECT_EQ(tokenizer["model"]["vocab"].size(), 256u);
  EXPECT_EQ(tokenizer["model"]["vocab"]["A"], 65);
  EXPECT_EQ(tokenizer["model"]["vocab"]["Ġ"], 32);  // GPT-2's letter for a blank
  EXPECT_EQ(tokenizer["model"]["vocab"]["Ń"], 173);
  EXPECT_EQ(tokenizer["added_tokens"][0]["id"], 256);
  EXPECT_TRUE(json::parse(byte_tokenizer_json(256))["added_tokens"].empty());
}

TEST(HfCheckpoint, HashTellsModelsApart) {
  ToyModel a, b;
  EXPECT_EQ(hash_weights(a.list()), hash_weights(b.list()));
  EXPECT_EQ(hash_weights(a.list()).size(), 16u);
  b.params[1].value.as<float>()[3] += 1e-6f;
  EXPECT_NE(hash_weights(a.list()), hash_weights(b.list()));
  ToyModel c;
  c.params[1].parts[0].name = "other";
  EXPECT_NE(hash_weights(a.list()), hash_weights(c.list()));
}

TEST(HfCheckpoint, MissingAndUnexpectedTensorsAreListed) {
  const ScratchDir dir;
  StoredToy stored;
  stored.remove("experts.1.up");
  stored.remove("conv1d.weight");
  for (int i = 0; i < 7; ++i) stored.add("strange." + std::to_string(i), Dtype::kF32, {i + 1});
  stored.write(dir / "model.safetensors");
  const std::string message = load_error(dir.path());
  EXPECT_TRUE(mentions(message, "2 missing: \"conv1d.weight\" [8, 1, 3], \"experts.1.up\" [5, 4];"));
  EXPECT_TRUE(mentions(message, "7 unexpected: \"strange.0\" f32[1]"));
  EXPECT_TRUE(mentions(message, "and 2 more"));
}

TEST(HfCheckpoint, WrongShapesAndIntegersAreRefused) {
  for (const auto& [dtype, shape] :
       {std::pair{Dtype::kF32, Shape{8, 3}}, {Dtype::kF32, {8, 1, 4}}, {Dtype::kI32, {8, 1, 3}}}) {
    const ScratchDir dir;
    StoredToy stored;
    stored.remove("conv1d.weight");
    stored.add("conv1d.weight", dtype, shape);
    stored.write(dir / "model.safetensors");
    const std::string message = load_error(dir.path());
    EXPECT_TRUE(mentions(message, "model.safetensors"));
    EXPECT_TRUE(mentions(message, "\"conv1d.weight\" is " + std::string(name_of(dtype)) + shape.to_string()));
    EXPECT_TRUE(mentions(message, "[8, 1, 3]"));
  }
}

TEST(HfCheckpoint, ATiedModelMayStoreItsHead) {
  const ScratchDir dir;
  StoredToy stored;
  stored.add("lm_head.weight", Dtype::kF32, {10, 4});
  stored.write(dir / "model.safetensors");
  ToyModel toy;
  load_weights(dir.path(), toy.config, toy.list());
  toy.config.tie_embeddings = false;
  EXPECT_THROW(load_weights(dir.path(), toy.config, toy.list()), InputError);

  StoredToy other;
  other.add("lm_head.weight", Dtype::kF32, {11, 4});
  other.write(dir / "model.safetensors");
  EXPECT_TRUE(mentions(load_error(dir.path()), "1 unexpected: \"lm_head.weight\""));
}

TEST(HfCheckpoint, DirectoriesWithoutWeights) {
  const ScratchDir dir;
  EXPECT_TRUE(mentions(load_error(dir.path()), "model.safetensors"));
  test::write_file(dir / "pytorch_model.bin", "x");
  EXPECT_TRUE(mentions(load_error(dir.path()), "pytorch_model.bin"));
}

TEST(HfCheckpoint, BrokenIndexesAreRefused) {
  const ScratchDir dir;
  ToyModel toy;
  save_weights(dir.path(), toy.list(), {.config = toy.text()}, 1);
  const std::string index_path = dir / "model.safetensors.index.json";
  const json good = json::parse(test::read_file(index_path));
  const auto error_with = [&](auto&& change) {
    json index = good;
    change(index);
    test::write_file(index_path, index.dump());
    return load_error(dir.path());
  };
  const char* const tensor = "experts.0.up";
  for (const char* name : {"../model-00003-of-00005.safetensors", "/etc/passwd", "", "..", "model.bin",
                           "sub/model-00003-of-00005.safetensors"}) {
    EXPECT_TRUE(mentions(error_with([&](json& i) { i["weight_map"][tensor] = name; }), tensor)) << name;
  }
  EXPECT_TRUE(mentions(error_with([&](json& i) { i["weight_map"][tensor] = 5; }), "expected a string"));
  EXPECT_TRUE(
      mentions(error_with([&](json& i) { i["weight_map"][tensor] = "model-9.safetensors"; }), "model-9"));
  EXPECT_TRUE(
      mentions(error_with([&](json& i) { i["weight_map"][tensor] = "model-00001-of-00005.safetensors"; }),
               "does not hold it"));
  EXPECT_TRUE(
      mentions(error_with([&](json& i) { i["weight_map"]["extra"] = "model-00001-of-00005.safetensors"; }),
               "does not hold it"));
  EXPECT_TRUE(mentions(error_with([&](json& i) { i.erase("weight_map"); }), "weight_map"));
  EXPECT_TRUE(mentions(error_with([&](json& i) { i["weight_map"] = json::object(); }), "5 missing"));

  test::write_file(index_path, good.dump());
  std::filesystem::copy_file(dir / "model-00001-of-00005.safetensors",
                             dir / "model-00002-of-00005.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_TRUE(mentions(load_error(dir.path()), "expected it once"));
}

}  // namespace
}  // namespace natrix
