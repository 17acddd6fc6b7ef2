#include "core/io/hf_checkpoint.h"

#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/io/atomic_file.h"
#include "core/io/hf_formats.h"
#include "core/io/json.h"
#include "core/io/xxhash64.h"
#include "kernels/base/transfer.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr size_t kListed = 5;  // names in a message before "… and N more"

bool is_there(const std::string& path) {
  std::error_code ignored;  // a directory that may not be searched holds nothing for us
  return fs::exists(path, ignored);
}

void remove_if_there(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw RunError(fmt::format("cannot remove {}: {}", path, error.message()));
}

// The tensors of a directory, whatever the number of files.
struct StoredWeights {
  struct Tensor {
    View view;
    const std::string* file;
  };
  std::vector<std::unique_ptr<Safetensors>> files;
  std::map<std::string, Tensor> tensors;

  void add(const std::string& path) {
    const Safetensors& file = *files.emplace_back(std::make_unique<Safetensors>(path));
    for (const auto& [name, view] : file.tensors()) {
      const auto [at, is_new] = tensors.try_emplace(name, Tensor{view, &file.path()});
      if (!is_new) {
        throw InputError(fmt::format("{}: tensor {} is in {} too; expected it once", path, excerpt(name),
                                     *at->second.file));
      }
    }
  }
};

void check_shard_name(const JsonObject& map, const std::string& tensor, const std::string& shard) {
  const bool plain = shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos &&
                     shard.ends_with(".safetensors");
  if (!plain) map.fail(tensor, "the name of a .safetensors file in the same directory");
}

StoredWeights open_shards(const std::string& dir) {
  const std::string index = dir + "/" + kIndexFile;
  const nlohmann::json json = read_json_file(index);
  const JsonObject map = JsonObject(json, index).object("weight_map");
  std::map<std::string, std::string> shard_of;
  std::set<std::string> shards;
  for (const auto& [tensor, _] : json["weight_map"].items()) {
    const std::string shard = map.text(tensor);
    check_shard_name(map, tensor, shard);
    shard_of[tensor] = shard;
    shards.insert(shard);
  }
  StoredWeights weights;
  for (const std::string& shard : shards) {
    if (!is_there(dir + "/" + shard)) {
      throw InputError(fmt::format("{}: shard {} is not in the directory; copy the whole checkpoint", index,
                                   excerpt(shard)));
    }
    weights.add(dir + "/" + shard);
  }
  for (const auto& [tensor, shard] : shard_of) {
    const auto found = weights.tensors.find(tensor);
    if (found == weights.tensors.end() || *found->second.file != dir + "/" + shard) {
      throw InputError(fmt::format("{}: tensor {} should be in {}, but that file does not hold it", index,
                                   excerpt(tensor), excerpt(shard)));
    }
  }
  return weights;
}

StoredWeights open_weights(const std::string& dir) {
  if (is_there(dir + "/" + kSingleFile)) {
    StoredWeights weights;
    weights.add(dir + "/" + kSingleFile);
    return weights;
  }
  if (is_there(dir + "/" + kIndexFile)) return open_shards(dir);
  throw InputError(
      fmt::format("{}: no weights; expected {} or {}{}", dir, kSingleFile, kIndexFile,
                  is_there(dir + "/pytorch_model.bin")
                      ? " (pytorch_model.bin can run code when it is read: save it as safetensors)"
                      : ""));
}

std::string list_of(const std::vector<std::string>& names) {
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(),
                      names.begin() + static_cast<std::ptrdiff_t>(std::min(kListed, names.size())), ", "));
  if (names.size() > kListed) text += fmt::format(" and {} more", names.size() - kListed);
  return text;
}

// Missing and unexpected together: a renamed tensor is both, and the message then shows the two names.
void check_names(const std::string& dir, const StoredWeights& stored, const ModelConfig& config,
                 const std::vector<Param*>& params) {
  std::vector<std::string> missing, unexpected;
  std::set<std::string> expected;
  for (const Param* param : params) {
    for (const ParamPart& part : param->parts) {
      expected.insert(part.name);
      if (!stored.tensors.contains(part.name)) {
        missing.push_back(excerpt(part.name) + " " + part.shape.to_string());
      }
    }
  }
  const HfNames names(config);
  for (const auto& [name, tensor] : stored.tensors) {
    const bool tied_copy = config.tie_embeddings && name == names.head() &&
                           stored.tensors.contains(names.embedding()) &&
                           tensor.view.shape == stored.tensors.at(names.embedding()).view.shape;
    if (!expected.contains(name) && !tied_copy)
      unexpected.push_back(excerpt(name) + " " + tensor.view.to_string());
  }
  if (missing.empty() && unexpected.empty()) return;
  std::string what;
  if (!missing.empty()) what += fmt::format("; {} missing: {}", missing.size(), list_of(missing));
  if (!unexpected.empty()) what += fmt::format("; {} unexpected: {}", unexpected.size(), list_of(unexpected));
  throw InputError(
      fmt::format("{}: the weights are not those of the model that config.json describes ({} tensors){}", dir,
                  expected.size(), what));
}

void check_part(const StoredWeights::Tensor& stored, const ParamPart& part) {
  const Dtype dtype = stored.view.dtype;
  const bool is_float =
      dtype == Dtype::kF32 || dtype == Dtype::kF64 || dtype == Dtype::kBF16 || dtype == Dtype::kF16;
  if (stored.view.shape != part.shape || !is_float) {
    throw InputError(fmt::format("{}: tensor {} is {}; the model needs floating point of shape {}",
                                 *stored.file, excerpt(part.name), stored.view.to_string(),
                                 part.shape.to_string()));
  }
}

void check(const std::string& dir, const StoredWeights& stored, const ModelConfig& config,
           const std::vector<Param*>& params) {
  check_names(dir, stored, config, params);
  for (const Param* param : params) {
    for (const ParamPart& part : param->parts) check_part(stored.tensors.at(part.name), part);
  }
}

View part_of(View whole, const ParamPart& part) {
  require(whole.contiguous() && part.first >= 0 && part.first + part.shape.count() <= whole.count(),
          "a part outside of its parameter");
  return View(static_cast<char*>(whole.data) + part.first * size_of(whole.dtype), whole.dtype, part.shape);
}

std::vector<std::vector<NamedTensor>> split_into_shards(const std::vector<NamedTensor>& tensors,
                                                        int64_t max_bytes) {
  std::vector<std::vector<NamedTensor>> shards(1);
  int64_t filled = 0;
  for (const NamedTensor& t : tensors) {
    if (!shards.back().empty() && filled + t.view.bytes() > max_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(t);
    filled += t.view.bytes();
  }
  return shards;
}

void save_sharded(const std::string& dir, const std::vector<std::vector<NamedTensor>>& shards) {
  nlohmann::json map = nlohmann::json::object();
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(dir + "/" + name, shards[i]);
    for (const NamedTensor& t : shards[i]) {
      map[t.name] = name;
      total += t.view.bytes();
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_file(dir + "/" + kIndexFile, index.dump(2) + "\n");
}

void write_text(const std::string& path, const std::string& text) {
  if (!text.empty()) write_file(path, text);
}

}  // namespace

void check_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params) {
  check(dir, open_weights(dir), config, params);
}

void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params) {
  load_weights(dir, config, params, params);
}

void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& own,
                  const std::vector<Param*>& all) {
  const StoredWeights stored = open_weights(dir);
  check(dir, stored, config, all);
  for (const Param* param : own) {
    for (const ParamPart& part : param->parts) {
      load_float(stored.tensors.at(part.name).view, part_of(param->value, part));
    }
    refresh_rounded(*param);
  }
}

void save_weights(const std::string& dir, const std::vector<Param*>& params, const ModelTexts& texts,
                  int64_t max_shard_bytes) {
  require(!texts.config.empty(), "weights are saved with their config.json");
  write_text(dir + "/config.json", texts.config);
  write_text(dir + "/generation_config.json", hf_generation_config_json(texts.config));
  write_text(dir + "/tokenizer.json", texts.tokenizer);
  write_text(dir + "/tokenizer_config.json", texts.tokenizer_config);
  const auto shards = split_into_shards(named_parts(params, &Param::value), max_shard_bytes);
  if (shards.size() == 1) {
    write_safetensors(dir + "/" + kSingleFile, shards[0]);
    remove_if_there(dir + "/" + kIndexFile);
  } else {
    save_sharded(dir, shards);
    remove_if_there(dir + "/" + kSingleFile);  // readers, ours too, would prefer it to the index
  }
}

std::vector<NamedTensor> named_parts(const std::vector<Param*>& params, View Param::*which) {
  std::vector<NamedTensor> tensors;
  for (const Param* param : params) {
    for (const ParamPart& part : param->parts) tensors.push_back({part.name, part_of(param->*which, part)});
  }
  return tensors;
}

std::string hash_weights(const std::vector<Param*>& params) {
  Xxhash64 hash;
  for (const NamedTensor& t : named_parts(params, &Param::value)) {
    hash.add(t.name + "\n" + t.view.to_string() + "\n");
    hash.add(OnHost(t.view).view().data, t.view.bytes());
  }
  return hash.hex();
}

}  // namespace natrix
