#include "launch/api/model_files.h"

#include "core/files/mapped_file.h"
#include "core/gguf/gguf_config.h"
#include "core/gguf/gguf_model.h"
#include "core/gguf/gguf_tokenizer.h"
#include "core/hf/hf_formats.h"
#include "core/tokenizers/byte_tokenizer_json.h"

namespace natrix {
namespace {

void ignore(const std::string&) {}

}  // namespace

ModelSource open_model(const std::string& path) {
  return is_gguf_path(path) ? open_gguf(path) : open_hf_directory(path);
}

std::string model_config_text(const std::string& path) {
  if (is_gguf_path(path)) return read_gguf_config(GgufFile(path)).text;
  return std::string(MappedFile(path + "/config.json").text());
}

std::vector<int64_t> model_eos_token_ids(const std::string& path) {
  if (is_gguf_path(path)) return parse_hf_eos_token_ids(model_config_text(path), path);
  return read_hf_eos_token_ids(path);
}

OwnTokenizer model_tokenizer(const std::string& path) {
  if (!is_gguf_path(path)) return tokenizer_of(path);
  const GgufFile file(path);
  const auto files = read_tokenizer_files(file, ignore);
  if (const auto found = files.find("tokenizer.json"); found != files.end()) {
    const TokenizerJson described = describe_tokenizer_text(found->second, path + ": tokenizer.json");
    return {.kind = described.bytes ? OwnTokenizer::Kind::kBytes : OwnTokenizer::Kind::kJson,
            .dir = {},
            .files = files,
            .has_end = described.has_end,
            .what = path};
  }
  if (file.text("tokenizer.ggml.model", "none") == "none") return {.what = path + " has no tokenizer"};
  return {.kind = OwnTokenizer::Kind::kOther, .what = path + " has a vocabulary that natrix cannot read"};
}

std::map<std::string, std::string> model_tokenizer_files(const std::string& path) {
  return is_gguf_path(path) ? read_tokenizer_files(GgufFile(path), ignore) : tokenizer_files(path);
}

}  // namespace natrix
