// Experiments from YAML: strict, with defaults, inheritance (extends), overrides from the command line, and a
// record of where each value came from.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "configs/experiment.h"

namespace natrix {

struct LoadedConfig {
  ExperimentConfig config;
  std::map<std::string, std::string> origin;  // key → "file.yaml:12" or "command line"; absent: the default

  bool was_set(const std::string& key) const { return origin.contains(key); }
  std::string origin_of(const std::string& key) const {
    const auto at = origin.find(key);
    return at == origin.end() ? "default" : at->second;
  }
};

/// Reads a file, and what it extends, then overrides of the form section.key=value. Paths in a file are
/// relative to that file, in an override to the current directory. ConfigError names every problem it found,
/// a line each.
LoadedConfig load_experiment(const std::string& path, std::span<const std::string> overrides = {});

/// The same from a text; `origin` stands for its name in messages and decides what its paths are relative to.
LoadedConfig parse_experiment(std::string_view text, const std::string& origin,
                              std::span<const std::string> overrides = {});

/// The whole configuration as YAML that loads to the same values; with_origin adds a comment to each line
/// saying where its value came from.
std::string to_yaml(const LoadedConfig& loaded, bool with_origin);

/// The keys' documentation as a Markdown table: docs/config.md.
std::string config_reference();

/// The key nearest to `key` by edit distance, or empty if none is near.
std::string nearest_key(const std::string& key, const std::vector<std::string>& known);

}  // namespace natrix
