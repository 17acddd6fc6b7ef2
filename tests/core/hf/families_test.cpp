// The table of families. A family from outside (a toy) reads, writes, names and merges tensors without further
// code: one record, one row.
#include "core/hf/families.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/hf/config_keys.h"
#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/buffer.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::json;
using test::mentions;
using test::message_of;
using test::ScratchDir;

// The toy: every layer is a mixture of experts with kinds in a list; the gates and ups of all experts lie in
// one tensor [E, 2f, d], the router has a name of its own, and "mtp.*" belongs to something else.
ModelConfig read_toy(const JsonObject& j) {
  ModelConfig c;
  std::string stack;
  for (const json& kind : j.at("layer_types")) {
    if (kind != "experts") j.fail("layer_types", "a list of \"experts\"");
    stack += 'E';
  }
  hf::set_stack(c, stack);
  hf::read_common(j, true, c);
  c.moe.num_experts = j.integer("num_local_experts", 1, kMostExperts);
  c.moe.top_k = j.integer("num_experts_per_tok", 1, c.moe.num_experts);
  c.moe.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

bool toy_expresses(const ModelConfig& c) {
  return c.stack().find_first_not_of('E') == std::string::npos;
}

json write_toy(const ModelConfig& c) {
  return {{"architectures", {"ToyForCausalLM"}},
          {"model_type", "toy"},
          {"layer_types", std::vector<std::string>(c.stack().size(), "experts")},
          {"num_local_experts", c.moe.num_experts},
          {"num_experts_per_tok", c.moe.top_k},
          {"intermediate_size", c.moe.d_ff}};
}

HfNames toy_names(const ModelConfig&) {
  return {.embedding = "toy.embed.weight",
          .final_norm = "toy.norm.weight",
          .norm = [](int i) { return fmt::format("toy.layers.{}.norm.weight", i); },
          .block = [](int i) { return fmt::format("toy.layers.{}.moe.", i); }};
}

std::optional<FileSlice> toy_slice(const ModelConfig& c, const ParamPart& part) {
  const size_t experts = part.name.find("experts."), router = part.name.find("router.");
  if (router != std::string::npos)
    return FileSlice{.name = part.name.substr(0, router) + "router.layer.weight", .shape = part.shape};
  if (experts == std::string::npos || part.name.ends_with("down_proj.weight")) return std::nullopt;
  const int64_t e = std::stoll(part.name.substr(experts + 8)), f = c.moe.d_ff, d = c.d_model;
  const int64_t half = part.name.ends_with("gate_proj.weight") ? 0 : 1;
  return FileSlice{.name = part.name.substr(0, experts) + "input_linear.weight",
                   .shape = {c.moe.num_experts, 2 * f, d},
                   .first = (2 * e + half) * f * d};
}

HfFamilies with_toy() {
  HfFamilies table = hf_families();
  table.insert(table.begin(), HfFamily{.model_type = "toy",
                                       .name = "ToyForCausalLM",
                                       .reads = "ToyForCausalLM",
                                       .read = read_toy,
                                       .expresses = toy_expresses,
                                       .write = write_toy,
                                       .names = toy_names,
                                       .slice = toy_slice,
                                       .ignores = [](std::string_view t) { return t.starts_with("mtp."); }});
  return table;
}

ModelConfig toy_config() {
  ModelConfig c;
  c.pattern = "E";
  c.repeat = 2;
  c.d_model = 4;
  c.vocab_size = 10;
  c.moe.num_experts = 3;
  c.moe.top_k = 1;
  c.moe.d_ff = 5;
  return c;
}

/// The parameters that a model of the toy family declares.
class ToyParams {
 public:
  ToyParams(const ModelConfig& c, const HfFamilies& families, float first) : next_(first) {
    const HfNames names = hf_names(c, families);
    const int64_t f = c.moe.d_ff, d = c.d_model, experts = c.moe.num_experts;
    add({*c.vocab_size, d}, {{.name = names.embedding, .shape = {*c.vocab_size, d}}});
    for (int i = 0; i < c.repeat; ++i) {
      const std::string block = names.block(i);
      add({d}, {{.name = names.norm(i), .shape = {d}}});
      add({experts, d}, {{.name = block + "router.weight", .shape = {experts, d}}});
      std::vector<ParamPart> in, down;
      for (int64_t e = 0; e < experts; ++e) {
        const std::string expert = fmt::format("{}experts.{}.", block, e);
        in.push_back({.name = expert + "gate_proj.weight", .shape = {f, d}, .first = 2 * e * f * d});
        in.push_back({.name = expert + "up_proj.weight", .shape = {f, d}, .first = (2 * e + 1) * f * d});
        down.push_back({.name = expert + "down_proj.weight", .shape = {d, f}, .first = e * f * d});
      }
      std::swap(in[0], in[1]);  // the order of parts means nothing
      add({experts, 2 * f, d}, in);
      add({experts, d, f}, down);
    }
    set_file_slices(c, list(), families);
  }

  std::vector<Param*> list() {
    std::vector<Param*> pointers;
    for (Param& p : params_) pointers.push_back(&p);
    return pointers;
  }

 private:
  void add(Shape shape, std::vector<ParamPart> parts) {
    Param p;
    p.name = parts[0].name;
    p.shape = shape;
    p.parts = std::move(parts);
    p.value = values_.emplace_back(Dtype::kF32, shape).view();
    for (int64_t i = 0; i < p.value.count(); ++i) p.value.as<float>()[i] = next_++;
    params_.push_back(std::move(p));
  }

  std::deque<Param> params_;
  std::deque<Buffer> values_;
  float next_;
};

/// A directory of the toy family, and the tensors that it holds.
struct SavedToy {
  SavedToy() { save_weights(dir.path(), params.list(), {.config = hf_config_json(config, 9, {}, families)}); }
  /// Changes the files' tensors.
  void change(const std::function<void(std::vector<NamedTensor>&)>& edit) const {
    const Safetensors file(dir / "model.safetensors");
    std::vector<NamedTensor> tensors;
    for (const auto& [name, view] : file.tensors()) tensors.push_back({name, view});
    edit(tensors);
    write_safetensors(dir / "new", tensors);
    std::filesystem::rename(dir / "new", dir / "model.safetensors");
  }
  std::string load_message() const {
    ToyParams to(config, families, 0);
    return message_of<InputError>([&] { load_weights(dir.path(), config, to.list(), to.list(), families); });
  }

  const HfFamilies families = with_toy();
  const ModelConfig config = toy_config();
  ToyParams params{config, families, 1};
  ScratchDir dir;
};

TEST(HfFamilies, AFamilyFromOutsideReadsWhatItWrites) {
  const HfFamilies families = with_toy();
  const ModelConfig c = toy_config();
  EXPECT_EQ(hf_family(c, families).name, "ToyForCausalLM");
  EXPECT_EQ(hf_family(c).name, "natrix") << "without its row";
  const std::string text = hf_config_json(c, 9, {}, families);
  const ModelConfig again = parse_hf_config(text, "config.json", families);
  EXPECT_EQ(again.stack(), "EE");
  EXPECT_EQ(again.moe.num_experts, 3);
  EXPECT_EQ(hf_config_json(again, 9, {}, families), text);
  const std::string message = message_of<InputError>([&] { parse_hf_config(text, "dir/config.json"); });
  EXPECT_TRUE(mentions(message, "dir/config.json: \"ToyForCausalLM\" (model_type \"toy\") is not supported"));
  json other = json::parse(text);
  other["model_type"] = "toyish";
  EXPECT_TRUE(mentions(message_of<InputError>([&] { parse_hf_config(other.dump(), "c", families); }),
                       "expected ToyForCausalLM, MambaForCausalLM"));
}

TEST(HfFamilies, PartsOfOneTensorAreMergedAndTakenApart) {
  SavedToy toy;
  const Safetensors file(toy.dir / "model.safetensors");
  const std::string layer = "toy.layers.1.moe.";
  EXPECT_EQ(file.tensors().size(), 1u + 2 * (1 + 1 + 1 + 3));
  const View merged = file.at(layer + "input_linear.weight");
  ASSERT_EQ(merged.shape, Shape({3, 10, 4}));
  const View in_memory = toy.params.list()[7]->value;  // it has the file's order
  for (int64_t i = 0; i < merged.count(); ++i) EXPECT_EQ(merged.as<float>()[i], in_memory.as<float>()[i]);
  EXPECT_TRUE(file.contains(layer + "router.layer.weight"));
  EXPECT_TRUE(file.contains(layer + "experts.2.down_proj.weight"));
  ToyParams again(toy.config, toy.families, 1000);
  load_weights(toy.dir.path(), toy.config, again.list(), again.list(), toy.families);
  EXPECT_EQ(hash_weights(again.list()), hash_weights(toy.params.list()));
}

TEST(HfFamilies, AMergedTensorThatIsMissingOrOfAnotherShapeIsReportedOnce) {
  const SavedToy toy;
  const std::string name = "toy.layers.0.moe.input_linear.weight";
  toy.change([&](auto& tensors) {
    for (NamedTensor& t : tensors) {
      if (t.name == name) t.view = t.view.reshaped({3, 5, 8});
    }
  });
  EXPECT_TRUE(mentions(toy.load_message(), name));
  EXPECT_TRUE(mentions(toy.load_message(), "shape [3, 10, 4]") || mentions(toy.load_message(), "[3,10,4]"))
      << toy.load_message();
  toy.change([&](auto& tensors) { std::erase_if(tensors, [&](auto& t) { return t.name == name; }); });
  EXPECT_TRUE(mentions(toy.load_message(), "1 missing: \"" + name + "\"")) << toy.load_message();
}

TEST(HfFamilies, OnlyWhatTheFamilyIgnoresMayBeThereBeside) {
  SavedToy toy;
  const Buffer more(Dtype::kF32, {2});
  toy.change([&](auto& tensors) { tensors.push_back({"mtp.layers.0.weight", more.view()}); });
  ToyParams again(toy.config, toy.families, 0);
  load_weights(toy.dir.path(), toy.config, again.list(), again.list(), toy.families);
  EXPECT_EQ(hash_weights(again.list()), hash_weights(toy.params.list()));
  toy.change([&](auto& tensors) { tensors.push_back({"mt.layers.0.weight", more.view()}); });
  EXPECT_TRUE(mentions(toy.load_message(), "1 unexpected: \"mt.layers.0.weight\"")) << toy.load_message();
}

// Tensors are looked for under the names of the family that would write the model.
TEST(HfFamilies, WhatAFamilyReadsIsWrittenAsThatFamily) {
  for (const auto& entry : std::filesystem::directory_iterator(NATRIX_TEST_DATA "/hf")) {
    const std::string dir = entry.path(), name = entry.path().filename();
    const json config = json::parse(test::read_file(dir + "/config.json"));
    EXPECT_EQ(hf_family(read_hf_config(dir)).model_type, config["model_type"].get<std::string>()) << name;
  }
}

TEST(HfFamilies, NamesAreUniqueAndTheLastExpressesEveryModel) {
  const HfFamilies& table = hf_families();
  for (const HfFamily& family : table) EXPECT_EQ(find_hf_family(family.model_type), &family);
  EXPECT_EQ(find_hf_family("toy"), nullptr);
  ModelConfig strange;
  strange.pattern = "~x";
  EXPECT_EQ(&hf_family(strange), &table.back());
}

}  // namespace
}  // namespace natrix
