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

constexpr const char* kStem = "model";
constexpr size_t kListed = 5;  // names in a message before "… and N more"

StoredTensors open_weights(const std::string& dir) {
  if (holds_tensors(dir, kStem)) return StoredTensors(dir, kStem);
  std::error_code ignored;  // a directory that may not be searched holds nothing for us
  throw InputError(
      fmt::format("{}: no weights; expected {}.safetensors or {}.safetensors.index.json{}", dir, kStem, kStem,
                  std::filesystem::exists(dir + "/pytorch_model.bin", ignored)
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
void check_names(const std::string& dir, const StoredTensors& stored, const ModelConfig& config,
                 const std::vector<Param*>& params) {
  std::vector<std::string> missing, unexpected;
  std::set<std::string> expected;
  for (const Param* param : params) {
    for (const ParamPart& part : param->parts) {
      expected.insert(part.name);
      if (!stored.contains(part.name)) {
        missing.push_back(excerpt(part.name) + " " + part.shape.to_string());
      }
    }
  }
  const HfNames names(config);
  for (const auto& [name, tensor] : stored.tensors()) {
    const bool tied_copy = config.tie_embeddings && name == names.head() &&
                           stored.contains(names.embedding()) &&
                           tensor.view.shape == stored.at(names.embedding()).view.shape;
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

void check_part(const StoredTensors::Tensor& stored, const ParamPart& part) {
  const Dtype dtype = stored.view.dtype;
  const bool is_float =
      dtype == Dtype::kF32 || dtype == Dtype::kF64 || dtype == Dtype::kBF16 || dtype == Dtype::kF16;
  if (stored.view.shape != part.shape || !is_float) {
    throw InputError(fmt::format("{}: tensor {} is {}; the model needs floating point of shape {}",
                                 *stored.file, excerpt(part.name), stored.view.to_string(),
                                 part.shape.to_string()));
  }
}

void check(const std::string& dir, const StoredTensors& stored, const ModelConfig& config,
           const std::vector<Param*>& params) {
  check_names(dir, stored, config, params);
  for (const Param* param : params) {
    for (const ParamPart& part : param->parts) check_part(stored.at(part.name), part);
  }
}

View part_of(View whole, const ParamPart& part) {
  require(whole.contiguous() && part.first >= 0 && part.first + part.shape.count() <= whole.count(),
          "a part outside of its parameter");
  return View(static_cast<char*>(whole.data) + part.first * size_of(whole.dtype), whole.dtype, part.shape);
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
  const StoredTensors stored = open_weights(dir);
  check(dir, stored, config, all);
  for (const Param* param : own) {
    for (const ParamPart& part : param->parts) {
      load_float(stored.at(part.name).view, part_of(param->value, part));
    }
    refresh_rounded(*param);
  }
}

void save_texts(const std::string& dir, const ModelTexts& texts) {
  require(!texts.config.empty(), "weights are saved with their config.json");
  write_text(dir + "/config.json", texts.config);
  write_text(dir + "/generation_config.json", hf_generation_config_json(texts.config));
  write_text(dir + "/tokenizer.json", texts.tokenizer);
  write_text(dir + "/tokenizer_config.json", texts.tokenizer_config);
}

void save_weights(const std::string& dir, const std::vector<Param*>& params, const ModelTexts& texts,
                  int64_t max_shard_bytes) {
  save_texts(dir, texts);
  write_tensors(dir, kStem, named_parts(params, &Param::value), max_shard_bytes);
}

void save_weights_part(const std::string& dir, int64_t writer, const std::vector<Param*>& params) {
  write_part(dir, kStem, writer, named_parts(params, &Param::value));
}

void join_weights(const std::string& dir, const ModelTexts& texts) {
  join_parts(dir, kStem);
  save_texts(dir, texts);
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
