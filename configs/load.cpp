#include "configs/load.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "configs/config_error.h"
#include "configs/field.h"
#include "configs/validate.h"
#include "configs/yaml_leaves.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDeepestExtends = 16;

std::string read_file(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error))
    throw ConfigError(fmt::format("{}: a directory; expected a YAML file", path));
  std::ifstream in(path, std::ios::binary);
  if (!in) throw ConfigError(fmt::format("{}: cannot be read; expected a YAML file", path));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Applies leaves and overrides to a configuration, and collects what is wrong with them.
class Loader {
 public:
  Loader() : fields_(fields_of(loaded_.config)) {}

  void add_file(const std::string& path) {
    const std::string name = fs::weakly_canonical(path).string();
    if (std::find(chain_.begin(), chain_.end(), name) != chain_.end()) {
      chain_.push_back(name);
      throw ConfigError(fmt::format("extends goes in a circle: {}", fmt::join(chain_, " -> ")));
    }
    if (chain_.size() == kDeepestExtends)
      throw ConfigError(fmt::format("{}: extends is nested too deeply", path));
    chain_.push_back(name);
    add_text(read_file(path), path);
    chain_.pop_back();
  }

  void add_text(std::string_view text, const std::string& origin) {
    const std::vector<Leaf> leaves = read_yaml_leaves(text, origin);
    const fs::path folder = fs::path(origin).parent_path();
    for (const Leaf& leaf : leaves) {
      if (leaf.key != "extends") continue;
      if (leaf.value.is_list || leaf.value.texts[0].empty()) {
        throw ConfigError(fmt::format("{}:{}: extends: expected one file", origin, leaf.line));
      }
      add_file((folder / leaf.value.texts[0]).string());
    }
    for (const Leaf& leaf : leaves) {
      if (leaf.key != "extends") set(leaf.key, leaf.value, fmt::format("{}:{}", origin, leaf.line), folder);
    }
  }

  void add_override(const std::string& text) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      problems_.push_back(fmt::format("command line: {}: an override is section.key=value", text));
      return;
    }
    const std::string key = text.substr(0, equals), given = text.substr(equals + 1);
    Value value{.texts = {given}};
    if (given.starts_with('[') || given.starts_with('"') || given.starts_with('\''))
      value = read_yaml_value(given, "command line: " + key);
    set(key, value, "command line", {});
  }

  LoadedConfig finish(const std::string& path) {
    if (loaded_.config.run.dir.empty()) loaded_.config.run.dir = "runs/" + fs::path(path).stem().string();
    if (problems_.empty()) problems_ = contradictions(loaded_);
    if (!problems_.empty()) throw ConfigError(fmt::format("{}", fmt::join(problems_, "\n        ")));
    return {.config = loaded_.config, .origin = loaded_.origin};
  }

 private:
  void set(const std::string& key, Value value, const std::string& origin, const fs::path& folder) {
    const auto field =
        std::find_if(fields_.begin(), fields_.end(), [&](const Field& f) { return f.key == key; });
    if (field == fields_.end()) {
      problems_.push_back(unknown(key, origin));
      return;
    }
    if (field->is_path && !folder.empty()) {
      for (std::string& p : value.texts) {
        if (!p.empty()) p = (folder / p).lexically_normal().string();
      }
    }
    if (field->read(value)) {
      loaded_.origin[key] = origin;
    } else {
      problems_.push_back(fmt::format("{}: {}: {} is not {}", origin, key, shown(value), field->expects));
    }
  }

  static std::string shown(const Value& v) {
    const std::string joined = fmt::format("{}", fmt::join(v.texts, ", "));
    if (v.is_list) return "[" + joined + "]";
    return v.quoted || joined.empty() ? "\"" + joined + "\"" : joined;
  }

  std::string unknown(const std::string& key, const std::string& origin) const {
    std::vector<std::string> keys;
    std::string inside;
    for (const Field& f : fields_) {
      keys.push_back(f.key);
      if (f.key.starts_with(key + ".")) inside += (inside.empty() ? "" : ", ") + f.key.substr(key.size() + 1);
    }
    if (!inside.empty()) return fmt::format("{}: {} is a section; its keys are {}", origin, key, inside);
    const std::string near = nearest_key(key, keys);
    return fmt::format(
        "{}: {} is not a key{}", origin, key,
        near.empty() ? "; docs/config.md lists them" : fmt::format("; did you mean {}?", near));
  }

  LoadedConfig loaded_;
  std::vector<Field> fields_;
  std::vector<std::string> chain_;  // of files, by extends
  std::vector<std::string> problems_;
};

/// A printed configuration is read from elsewhere: what it names must not depend on where.
void make_paths_absolute(ExperimentConfig& c) {
  const auto absolute = [](std::string& path) {
    if (!path.empty()) path = fs::absolute(path).lexically_normal().string();
  };
  for (std::string* path : {&c.run.dir, &c.model.init_from, &c.data.batches}) absolute(*path);
  for (std::vector<std::string>* paths : {&c.data.train, &c.data.eval})
    std::for_each(paths->begin(), paths->end(), absolute);
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

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

std::string to_yaml(const LoadedConfig& loaded, bool with_origin) {
  ExperimentConfig config = loaded.config;
  make_paths_absolute(config);
  std::string text;
  std::vector<std::string> open;  // sections that the last line stands in
  for (const Field& f : fields_of(config)) {
    std::vector<std::string> parts;
    std::istringstream key(f.key);
    for (std::string part; std::getline(key, part, '.');) parts.push_back(part);
    const bool absent =
        f.print() == "\"\"" || f.print() == "[]" || (f.key == "model.d_model" && config.model.d_model == 0);
    if (absent) continue;  // a key without a value: its default is to be left out
    size_t same = 0;
    while (same < open.size() && same + 1 < parts.size() && open[same] == parts[same]) ++same;
    open.assign(parts.begin(), parts.end() - 1);
    for (size_t i = same; i < open.size(); ++i) text += std::string(2 * i, ' ') + open[i] + ":\n";
    std::string line = std::string(2 * open.size(), ' ') + parts.back() + ": " + f.print();
    if (with_origin) line = fmt::format("{:<48} # {}", line, loaded.origin_of(f.key));
    text += line + "\n";
  }
  return text;
}

std::string config_reference() {
  ExperimentConfig defaults;
  std::string text = "| key | default | expects | meaning |\n|---|---|---|---|\n";
  for (const Field& f : fields_of(defaults)) {
    std::string value = f.print();
    if (value == "\"\"" || value == "[]" || f.key == "model.d_model") value = "–";
    text += fmt::format("| `{}` | {} | {} | {} |\n", f.key, value, f.expects, f.help);
  }
  return text;
}

std::string nearest_key(const std::string& key, const std::vector<std::string>& known) {
  const auto last = [](const std::string& k) { return k.substr(k.rfind('.') + 1); };
  std::string best;
  size_t least = std::max<size_t>(key.size() / 3, 2) + 1;
  for (const std::string& k : known) {
    // A right name in the wrong section is near, too.
    const size_t distance =
        std::min(edit_distance(key, k), last(key) == last(k) ? size_t{2} : edit_distance(key, k));
    if (distance < least) {
      least = distance;
      best = k;
    }
  }
  return best;
}

}  // namespace natrix
