#include "configs/schema/key_reader.h"

#include <algorithm>
#include <fmt/format.h>

#include "configs/schema/config_error.h"
#include "configs/schema/paths.h"
#include "configs/schema/source_text.h"
#include "configs/schema/suggest.h"
#include "configs/schema/yaml_leaves.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDeepestExtends = 16;
constexpr size_t kMostProblems = 20;  // of a file full of them, the first are enough

std::string shown(const Value& v) {
  std::vector<std::string> items = v.texts;
  for (const auto& [index, mapping] : v.mappings) {
    std::string pairs;
    for (const auto& [key, text] : mapping)
      pairs += fmt::format("{}{}: {}", pairs.empty() ? "" : ", ", key, text);
    items[index] = "{" + pairs + "}";
  }
  const std::string joined = shortened(fmt::format("{}", fmt::join(items, ", ")));
  if (v.is_list) return "[" + joined + "]";
  return v.quoted || joined.empty() ? "\"" + joined + "\"" : joined;
}

/// Paths of a value become those that are opened: ~ is expanded, and what is relative starts from the folder.
/// Returns what is wrong with one of them.
std::string settle_paths(const Field& field, Value& value, const fs::path& folder) {
  for (std::string& text : value.texts) {
    if (std::find(field.words.begin(), field.words.end(), text) != field.words.end()) continue;
    const ExpandedPath expanded = expand_path(text);
    if (text.empty()) {
      if (value.mappings.contains(static_cast<size_t>(&text - value.texts.data())))
        return "an item has no path; expected {path: PATH, weight: NUMBER, key: NAME}";
      return fmt::format("{}; expected {}", value.is_list ? "a path of the list is empty" : expanded.problem,
                         field.expects);
    }
    if (!expanded.problem.empty()) return expanded.problem;
    text = (folder / expanded.path).string();
  }
  for (auto& [index, mapping] : value.mappings) {
    for (auto& [key, text] : mapping) {
      if (key == "path") text = value.texts[index];
    }
  }
  return "";
}

}  // namespace

void KeyReader::add_file(const std::string& path, const std::string& referrer) {
  refuse_circle(path, referrer);
  chain_.push_back(path);
  add_text(read_source_file(path, referrer), path);
  chain_.pop_back();
}

void KeyReader::add_text(std::string_view text, const std::string& origin) {
  const std::vector<Leaf> leaves = read_yaml_leaves(text, origin, kind_.needs);
  const fs::path folder = fs::path(origin).parent_path();
  for (const Leaf& leaf : leaves) {
    if (leaf.key != "extends") continue;
    const std::string place = fmt::format("{}:{}: extends", origin, leaf.line);
    if (leaf.value.is_list)
      throw ConfigError(fmt::format("{}: {} is not the path of one YAML file", place, shown(leaf.value)));
    const ExpandedPath base = expand_path(leaf.value.texts[0]);
    if (!base.problem.empty()) throw ConfigError(place + ": " + base.problem);
    add_file((folder / base.path).string(), place);
  }
  for (const Leaf& leaf : leaves) {
    if (leaf.key != "extends") set(leaf.key, leaf.value, fmt::format("{}:{}", origin, leaf.line), folder);
  }
}

void KeyReader::add_override(const std::string& text) {
  if (const UnfitText unfit = find_unfit(text); !unfit.why.empty()) {
    throw ConfigError(fmt::format("command line: byte {} of an override: {}", unfit.at + 1, unfit.why));
  }
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return report("command line", fmt::format("{} is not an override; expected section.key=value, such as "
                                              "train.steps=200",
                                              shortened(text)));
  }
  const std::string key = text.substr(0, equals), given = text.substr(equals + 1);
  Value value{.texts = {given}};
  if (given.starts_with('[') || given.starts_with('"') || given.starts_with('\''))
    value = read_yaml_value(given, "command line: " + key);
  set(key, value, "command line", {});
}

void KeyReader::report(const std::string& place, const std::string& what) {
  problems_.push_back(place + ": " + what);
  if (problems_.size() < kMostProblems) return;
  problems_.push_back(fmt::format("and perhaps more: stopped after {} problems", kMostProblems));
  raise_problems();
}

void KeyReader::raise_problems() const {
  if (!problems_.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems_, "\n        ")));
}

void KeyReader::refuse_circle(const std::string& path, const std::string& referrer) const {
  const auto is_same = [&](const std::string& other) {
    std::error_code none_of_them;
    return fs::equivalent(path, other, none_of_them);
  };
  if (std::any_of(chain_.begin(), chain_.end(), is_same)) {
    throw ConfigError(
        fmt::format("{} goes in a circle: {} -> {}", referrer, fmt::join(chain_, " -> "), path));
  }
  if (chain_.size() >= kDeepestExtends) {
    throw ConfigError(fmt::format("{} goes through more than {} files: {}", referrer, kDeepestExtends,
                                  fmt::join(chain_, " -> ")));
  }
}

void KeyReader::set(const std::string& key, Value value, const std::string& origin, const fs::path& folder) {
  const auto field =
      std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.key == key; });
  if (field == fields_.end()) return report(origin, unknown(key));
  const std::string found = shown(value);
  if (!value.mappings.empty() && !field->takes_mappings)
    return report(origin, fmt::format("{}: a list holds plain values here, not mappings; expected {}", key,
                                      field->expects));
  if (field->is_path) {
    const std::string problem = settle_paths(*field, value, folder);
    if (!problem.empty()) return report(origin, key + ": " + problem);
  }
  if (field->read(value)) {
    origin_[key] = origin;
    return;
  }
  const std::string why = field->why_not ? field->why_not(value) : "";
  if (!why.empty()) return report(origin, fmt::format("{}: {}; expected {}", key, why, field->expects));
  const std::string meant = accepted_spelling(*field, value);
  report(origin, fmt::format("{}: {} is not {}{}", key, found, field->expects,
                             meant.empty() ? "" : fmt::format("; did you mean {}?", meant)));
}

std::string KeyReader::unknown(const std::string& key) const {
  std::vector<std::string> known = {"extends"};
  std::string inside;
  for (const Field& f : fields_) {
    known.push_back(f.key);
    if (f.key.starts_with(key + ".")) inside += (inside.empty() ? "" : ", ") + f.key.substr(key.size() + 1);
  }
  if (key == "extends") return "extends: belongs into a file";
  if (!inside.empty()) return fmt::format("{}: is a section; its keys are {}", key, inside);
  const std::string near = nearest_key(key, known);
  return fmt::format("{}: is not a key; {}", shortened(key),
                     near.empty() ? kind_.listed : fmt::format("did you mean {}?", near));
}

}  // namespace natrix
