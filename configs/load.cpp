#include "configs/load.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <vector>

#include "configs/config_error.h"
#include "configs/field.h"
#include "configs/source_text.h"
#include "configs/suggest.h"
#include "configs/validate.h"
#include "configs/yaml_leaves.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDeepestExtends = 16;
constexpr size_t kMostProblems = 20;  // of a file full of them, the first are enough

/// Applies leaves and overrides to a configuration, and collects what is wrong with them.
class Loader {
 public:
  Loader() : fields_(fields_of(loaded_.config)) {}
  Loader(const Loader&) = delete;  // fields_ point into loaded_
  Loader& operator=(const Loader&) = delete;

  /// `referrer`: the place that asks for the file, or empty.
  void add_file(const std::string& path, const std::string& referrer = "") {
    refuse_circle(path, referrer);
    chain_.push_back(path);
    add_text(read_source_file(path, referrer), path);
    chain_.pop_back();
  }

  void add_text(std::string_view text, const std::string& origin) {
    const std::vector<Leaf> leaves = read_yaml_leaves(text, origin);
    const fs::path folder = fs::path(origin).parent_path();
    for (const Leaf& leaf : leaves) {
      if (leaf.key == "extends") add_base(leaf, origin, folder);
    }
    for (const Leaf& leaf : leaves) {
      if (leaf.key != "extends") set(leaf.key, leaf.value, fmt::format("{}:{}", origin, leaf.line), folder);
    }
  }

  void add_override(const std::string& text) {
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

  LoadedConfig finish(const std::string& path) {
    raise_problems();
    if (loaded_.config.run.dir.empty()) loaded_.config.run.dir = "runs/" + fs::path(path).stem().string();
    fit_defaults(loaded_);
    for (const Contradiction& c : contradictions(loaded_)) {
      report(loaded_.was_set(c.key) ? loaded_.origin_of(c.key) : path, c.key + ": " + c.what);
    }
    raise_problems();
    return {.config = loaded_.config, .origin = loaded_.origin};
  }

 private:
  void refuse_circle(const std::string& path, const std::string& referrer) const {
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

  void add_base(const Leaf& leaf, const std::string& origin, const fs::path& folder) {
    const std::string place = fmt::format("{}:{}: extends", origin, leaf.line);
    if (leaf.value.is_list || leaf.value.texts[0].empty()) {
      throw ConfigError(fmt::format("{}: {} is not the path of one YAML file", place, shown(leaf.value)));
    }
    add_file((folder / leaf.value.texts[0]).string(), place);
  }

  void set(const std::string& key, Value value, const std::string& origin, const fs::path& folder) {
    const auto field =
        std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.key == key; });
    if (field == fields_.end()) return report(origin, unknown(key));
    const std::string found = shown(value);
    if (field->is_path && !folder.empty()) {
      const auto is_word = [&](const std::string& p) {
        return std::find(field->words.begin(), field->words.end(), p) != field->words.end();
      };
      for (std::string& p : value.texts) {
        if (!p.empty() && !is_word(p)) p = (folder / p).string();
      }
    }
    if (field->read(value)) {
      loaded_.origin[key] = origin;
      return;
    }
    const std::string meant = accepted_spelling(*field, value);
    report(origin, fmt::format("{}: {} is not {}{}", key, found, field->expects,
                               meant.empty() ? "" : fmt::format("; did you mean {}?", meant)));
  }

  static std::string shown(const Value& v) {
    const std::string joined = shortened(fmt::format("{}", fmt::join(v.texts, ", ")));
    if (v.is_list) return "[" + joined + "]";
    return v.quoted || joined.empty() ? "\"" + joined + "\"" : joined;
  }

  std::string unknown(const std::string& key) const {
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
                       near.empty() ? "docs/config.md lists them" : fmt::format("did you mean {}?", near));
  }

  void report(const std::string& place, const std::string& what) {
    problems_.push_back(place + ": " + what);
    if (problems_.size() < kMostProblems) return;
    problems_.push_back(fmt::format("and perhaps more: stopped after {} problems", kMostProblems));
    raise_problems();
  }

  void raise_problems() const {
    if (!problems_.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems_, "\n        ")));
  }

  LoadedConfig loaded_;
  std::vector<Field> fields_;
  std::vector<std::string> chain_;  // of files, by extends
  std::vector<std::string> problems_;
};

}  // namespace

LoadedConfig load_experiment(const std::string& path, std::span<const std::string> overrides) {
  Loader loader;
  loader.add_file(path);
  for (const std::string& o : overrides) loader.add_override(o);
  return loader.finish(path);
}

LoadedConfig parse_experiment(std::string_view text, const std::string& origin,
                              std::span<const std::string> overrides) {
  Loader loader;
  loader.add_text(text, origin);
  for (const std::string& o : overrides) loader.add_override(o);
  return loader.finish(origin);
}

}  // namespace natrix
