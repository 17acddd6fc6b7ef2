#include "core/chat/load_chat_template.h"

#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using nlohmann::json;

constexpr const char *kOwn = "chat_template.jinja", *kOther = "chat_template.json",
                     *kConfig = "tokenizer_config.json";

/// The text of one template, and where it was found.
struct FoundTemplate {
  std::string source, where;
};

std::string text_of(const json& value, const std::string& where, std::string_view key) {
  if (value.is_string()) return value.get<std::string>();
  throw InputError(fmt::format("{}: key \"{}\" is no string", where, key));
}

/// Of a list of {"name", "template"}.
FoundTemplate named_template(const json& list, const std::string& where, bool with_tools) {
  for (const char* wanted : {"tool_use", "default"}) {
    if (!with_tools && wanted == std::string_view("tool_use")) continue;
    for (const json& entry : list) {
      const JsonObject object(entry, where, "chat_template[].");
      if (object.text("name") == wanted)
        return {object.text("template"), fmt::format("{} ({})", where, wanted)};
    }
  }
  throw InputError(fmt::format("{}: key \"chat_template\" has no template named \"default\"", where));
}

std::optional<FoundTemplate> template_in(const json& file, const std::string& where, bool with_tools) {
  const JsonObject object(file, where);
  if (!object.has("chat_template") || object.at("chat_template").is_null()) return {};
  const json& value = object.at("chat_template");
  if (value.is_array()) return named_template(value, where, with_tools);
  return FoundTemplate{text_of(value, where, "chat_template"), where};
}

/// A string, or an object with the token as "content".
std::string special_token(const json& config, const std::string& where, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return {};
  if (found->is_object()) return JsonObject(*found, where, std::string(key) + ".").text("content");
  return text_of(*found, where, key);
}

}  // namespace

std::optional<LoadedChatTemplate> find_chat_template_in(const std::map<std::string, std::string>& files,
                                                        const std::string& origin, bool with_tools) {
  const auto where = [&](const char* name) { return (std::filesystem::path(origin) / name).string(); };
  const auto parsed = [&](const char* name) {
    const auto file = files.find(name);
    return file == files.end() ? json::object() : parse_json(file->second, where(name));
  };
  const json config = parsed(kConfig);
  std::optional<FoundTemplate> found;
  if (const auto own = files.find(kOwn); own != files.end()) found = FoundTemplate{own->second, where(kOwn)};
  if (!found) found = template_in(parsed(kOther), where(kOther), with_tools);
  if (!found) found = template_in(config, where(kConfig), with_tools);
  if (!found) return std::nullopt;
  return LoadedChatTemplate{ChatTemplate(found->source, found->where),
                            special_token(config, where(kConfig), "bos_token"),
                            special_token(config, where(kConfig), "eos_token")};
}

std::optional<LoadedChatTemplate> find_chat_template(const std::string& directory, bool with_tools) {
  std::map<std::string, std::string> files;
  for (const char* name : {kOwn, kOther, kConfig}) {
    const std::filesystem::path path = std::filesystem::path(directory) / name;
    if (std::filesystem::exists(path)) files[name] = MappedFile(path).text();
  }
  return find_chat_template_in(files, directory, with_tools);
}

LoadedChatTemplate load_chat_template(const std::string& directory, bool with_tools) {
  if (auto found = find_chat_template(directory, with_tools)) return std::move(*found);
  throw InputError(
      fmt::format("{}: no chat template; expected chat_template.jinja, or the key \"chat_template\" in "
                  "chat_template.json or tokenizer_config.json",
                  directory));
}

}  // namespace natrix
