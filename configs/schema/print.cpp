// A configuration as YAML, as a hash, and its keys as documentation.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

#include "configs/schema/field.h"
#include "configs/schema/load.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

/// Section and name: "model.mamba", "d_state".
std::pair<std::string, std::string> split(const std::string& key) {
  const size_t dot = key.rfind('.');
  return {key.substr(0, dot), key.substr(dot + 1)};
}

std::string indent_of(std::string_view key) {
  return std::string(2 * static_cast<size_t>(std::count(key.begin(), key.end(), '.')), ' ');
}

template <class Change>
void change_paths(ExperimentConfig& c, const Change& change) {
  for (const Field& f : fields_of(c)) {
    if (!f.paths) continue;
    for (std::string* path : f.paths()) *path = change(*path);
  }
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const fs::path full = fs::absolute(path, error);
  return error ? path : full.string();
}

std::string last_name(const std::string& path) {
  fs::path p = fs::path(path).lexically_normal();
  if (!p.has_filename()) p = p.parent_path();  // "data/"
  return p.filename().string();
}

/// A checkpoint answers for what is not said of its model.
bool is_checkpoints(const LoadedConfig& loaded, const std::string& key) {
  return !loaded.config.model.init_from.empty() && key.starts_with("model.") && !loaded.was_set(key);
}

}  // namespace

void make_paths_absolute(ExperimentConfig& config) {
  change_paths(config, absolute);
}

std::string to_yaml(const LoadedConfig& loaded, bool with_origin) {
  ExperimentConfig config = loaded.config;
  make_paths_absolute(config);
  std::string text, open;  // open: the section that the last line stands in
  for (const Field& f : fields_of(config)) {
    if (is_checkpoints(loaded, f.key)) continue;
    const auto [section, name] = split(f.key);
    // The heads of the sections around the key that the last line did not stand in, outermost first.
    for (size_t end = 0; section != open && end != std::string::npos;) {
      end = section.find('.', end + 1);
      const std::string outer = section.substr(0, end);
      if (open != outer && !open.starts_with(outer + "."))
        text += fmt::format("{}{}:\n", indent_of(outer), split(outer).second);
    }
    open = section;
    std::string line = fmt::format("{}{}: {}", indent_of(f.key), name, f.print());
    if (with_origin) line = fmt::format("{:<48} # {}", line, loaded.origin_of(f.key));
    text += line + "\n";
  }
  return text;
}

std::string config_hash(const ExperimentConfig& original) {
  ExperimentConfig config = original;
  change_paths(config, last_name);
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: an identity, no defence against forgery
  const auto add = [&](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  };
  for (const Field& f : fields_of(config)) {
    if (f.decides_result) add(f.key + ": " + f.print() + "\n");
  }
  return fmt::format("{:016x}", hash);
}

std::string config_reference() {
  ExperimentConfig defaults;
  std::string text, open;
  for (const Field& f : fields_of(defaults)) {
    const auto [section, name] = split(f.key);
    if (section != open) {
      text += fmt::format("{}## {}\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n",
                          open.empty() ? "" : "\n", section);
      open = section;
    }
    std::string value = f.print();
    if (value == "\"\"" || f.key == "model.d_model") value = "–";  // no constant; the meaning says more
    text += fmt::format("| `{}` | {} | {} | {} |\n", name, value, f.expects, f.help);
  }
  return text;
}

}  // namespace natrix
