#include "core/gguf/gguf_config.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "configs/schema/model_bounds.h"
#include "core/files/json.h"
#include "core/gguf/gguf_model.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr const char* kArchitectureKey = "general.architecture";
constexpr const char* kEmbedding = "token_embd.weight";

const GgufArchitecture& architecture_of(const GgufFile& file) {
  const std::string name(file.text(kArchitectureKey));
  if (const GgufArchitecture* found = find_gguf_architecture(name)) return *found;
  file.fail(kArchitectureKey, readable_gguf_architectures());
}

void refuse_split(const GgufFile& file) {
  if (file.integer("split.count", 0, 65'535, 0) > 1)
    file.fail("split.count", "a file that is not split: join its parts with llama-gguf-split --merge");
}

/// Ids of special tokens, as config.json has them.
nlohmann::json special_ids(const GgufFile& file) {
  nlohmann::json ids = {{"model_type", ""}};
  for (const auto& [key, name] : {std::pair("bos", "bos_token_id"), {"padding", "pad_token_id"}}) {
    const std::string full = fmt::format("tokenizer.ggml.{}_token_id", key);
    ids[name] = file.has(full) ? nlohmann::json(file.integer(full, 0, INT32_MAX)) : nlohmann::json();
  }
  return ids;
}

std::optional<int64_t> eos_id(const GgufFile& file) {
  const std::string key = "tokenizer.ggml.eos_token_id";
  return file.has(key) ? std::optional(file.integer(key, 0, INT32_MAX)) : std::nullopt;
}

/// The model that the architecture's keys describe.
GgufConfig config_of_keys(const GgufFile& file, const GgufArchitecture& architecture) {
  const GgufTensor& embedding = file.tensor(kEmbedding);
  ModelConfig c;
  if (embedding.extents.size() != 2 || embedding.extents[0] > kMostWidth ||
      embedding.extents[1] > kMostVocabulary) {
    throw InputError(fmt::format("{}: tensor \"{}\" is {}; expected [width, vocabulary]", file.origin(),
                                 kEmbedding, embedding.to_string()));
  }
  c.d_model = embedding.extents[0];
  c.vocab_size = embedding.extents[1];
  c.tie_embeddings = !file.tensors().contains("output.weight");
  architecture.visit(GgufKeys(file, architecture.name), c);
  GgufConfig config{.architecture = &architecture, .model = {}, .text = {}};
  config.text = hf_config_json(c, eos_id(file), special_ids(file).dump());
  config.model = parse_hf_config(config.text, file.origin());
  if (!architecture.expresses(config.model)) {
    throw InputError(
        fmt::format("{}: its metadata describe a model that natrix does not know as {}: the layers "
                    "are {} (M, S: Mamba-1 and -2, *: attention, E: experts, -: MLP)",
                    file.origin(), architecture.name, excerpt(config.model.pattern)));
  }
  return config;
}

/// Whether the architecture's keys in the file are those that this model is written with.
bool same_keys(const GgufFile& file, const GgufArchitecture& architecture, ModelConfig model) {
  GgufMetadata written;
  architecture.visit(GgufKeys(written, architecture.name, 1), model);
  std::string image("GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16);
  const int64_t count = written.count();
  image.append(reinterpret_cast<const char*>(&count), sizeof count).append(written.encoded());
  const GgufFile expected(image, "the metadata of natrix.config");
  return std::ranges::all_of(expected.metadata(), [&](const auto& entry) {
    const auto& [key, value] = entry;
    if (key.ends_with(".context_length")) return true;  // the model does not have it
    const auto found = file.metadata().find(key);
    return found != file.metadata().end() && found->second.type == value.type &&
           found->second.element == value.element && found->second.bytes == value.bytes;
  });
}

}  // namespace

GgufConfig read_gguf_config(const GgufFile& file) {
  refuse_split(file);
  const GgufArchitecture& architecture = architecture_of(file);
  if (!file.has(kConfigKey)) return config_of_keys(file, architecture);
  GgufConfig config{.architecture = &architecture, .model = {}, .text = std::string(file.text(kConfigKey))};
  config.model = parse_hf_config(config.text, file.origin() + ": " + kConfigKey);
  const bool fits = architecture.expresses(config.model) && same_keys(file, architecture, config.model);
  return fits ? config : config_of_keys(file, architecture);
}

}  // namespace natrix
