#include "core/tokenizers/open_tokenizer.h"

#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/tokenizers/tokenizer_json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigs[] = {"tokenizer_config.json", "special_tokens_map.json"};
constexpr const char* kUsualEnd = "<|endoftext|>";

bool is_there(const fs::path& path) {
  std::error_code ignored;  // a directory that may not be searched holds nothing for us
  return fs::exists(path, ignored);
}

/// The eos_token of a file: "</s>" or {"content": "</s>"}; empty if it has none.
std::string end_in(const nlohmann::json& root) {
  if (!root.is_object() || !root.contains("eos_token")) return {};
  const nlohmann::json& token = root["eos_token"];
  if (token.is_string()) return token.get<std::string>();
  return token.is_object() && token.contains("content") && token["content"].is_string()
             ? token["content"].get<std::string>()
             : std::string();
}

std::string end_of_text_beside(const fs::path& dir) {
  for (const char* name : kConfigs) {
    if (!is_there(dir / name)) continue;
    if (std::string end = end_in(read_json_file(dir / name)); !end.empty()) return end;
  }
  return kUsualEnd;
}

}  // namespace

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& path) {
  if (!is_there(path)) {
    throw InputError(
        fmt::format("tokenizer '{}' is not supported; supported: bytes (one token a byte, vocabulary 257), "
                    "or the path of a "
                    "tokenizer.json or of a directory with one, and there is none",
                    path));
  }
  const fs::path file = fs::is_directory(path) ? fs::path(path) / "tokenizer.json" : fs::path(path);
  if (!is_there(file))
    throw InputError(fmt::format("{}: there is no tokenizer.json in this directory", path));
  if (file.extension() != ".json") {
    throw InputError(
        fmt::format("{}: natrix reads tokenizers from tokenizer.json; docs/tokenizers.md lists what it reads",
                    file.string()));
  }
  return read_tokenizer_json(file, end_of_text_beside(file.parent_path()));
}

std::unique_ptr<Tokenizer> make_tokenizer_of(const std::map<std::string, std::string>& files,
                                             const std::string& origin) {
  std::string end;
  for (const char* name : kConfigs) {
    const auto found = files.find(name);
    if (end.empty() && found != files.end()) end = end_in(parse_json(found->second, origin + ": " + name));
  }
  return parse_tokenizer_json(files.at("tokenizer.json"), origin + ": tokenizer.json",
                              end.empty() ? kUsualEnd : end);
}

}  // namespace natrix
