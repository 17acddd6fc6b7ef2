#include "launch/generate/prompt_lines.h"

#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 40;  // as -n

std::vector<int64_t> ids_of(const JsonObject& line, int64_t vocab_size) {
  const nlohmann::json& list = line.at("tokens");
  const std::string expected = fmt::format("a list of at least one token, each from 0 to {}", vocab_size - 1);
  if (!list.is_array() || list.empty()) line.fail("tokens", expected);
  std::vector<int64_t> ids;
  for (const nlohmann::json& item : list) {
    const bool known = item.is_number_unsigned() && item.get<uint64_t>() < static_cast<uint64_t>(vocab_size);
    if (!known) line.fail("tokens", expected);
    ids.push_back(item.get<int64_t>());
  }
  return ids;
}

PromptLine parse_prompt_line(const std::string& text, const std::string& origin, int64_t vocab_size) {
  const nlohmann::json value = parse_json(text, origin);
  if (!value.is_object())
    throw InputError(fmt::format("{}: expected an object such as {{\"prompt\": \"Once upon\"}}", origin));
  const JsonObject object(value, origin);
  object.allow_only({"prompt", "tokens", "id", "max_tokens", "seed"});
  if (object.has("prompt") == object.has("tokens"))
    throw InputError(fmt::format("{}: expected one of \"prompt\" and \"tokens\"", origin));
  PromptLine line;
  if (object.has("prompt")) {
    line.text = object.text("prompt");
  } else {
    line.tokens = ids_of(object, vocab_size);
  }
  if (object.has("id")) {
    const nlohmann::json& id = object.at("id");
    if (!id.is_string() && !id.is_number_integer()) object.fail("id", "a string or an integer");
    line.id = id.dump();
  }
  if (object.has("max_tokens")) line.max_tokens = object.integer("max_tokens", 0, kMostTokens);
  if (object.has("seed")) {
    line.seed = static_cast<uint64_t>(object.integer("seed", 0, std::numeric_limits<int64_t>::max()));
  }
  return line;
}

}  // namespace

std::vector<PromptLine> read_prompt_lines(const std::string& path, int64_t vocab_size) {
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file || std::filesystem::is_directory(path)) {
      throw InputError(fmt::format(
          "--prompts {}: {}", path,
          file ? "is a directory; expected a file of JSON lines" : "cannot be opened for reading"));
    }
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::vector<PromptLine> lines;
  int64_t number = 0;
  for (std::string text; std::getline(in, text);) {
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    lines.push_back(parse_prompt_line(text, fmt::format("{}:{}", path, number), vocab_size));
  }
  if (in.bad()) throw RunError(fmt::format("--prompts {}: reading failed", path));
  if (lines.empty())
    throw InputError(fmt::format("--prompts {}: holds no prompt; expected a JSON object a line", path));
  return lines;
}

}  // namespace natrix
