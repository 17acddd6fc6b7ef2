// Experiments from YAML: strict, with defaults, inheritance (extends), overrides from the command line, and a
// record of where each value came from.
//
// A default is reduced to the key that bounds it: sequence.chunk to length, model.moe.top_k to
// num_experts, optimizer.min_lr to lr, optimizer.warmup_steps to train.steps. A value that was set and
// exceeds the bound is refused.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "configs/schema/experiment.h"

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

/// Reads a file after the file that it extends, then overrides of the form section.key=value. Paths in a
/// file are relative to that file; in an override, to the current directory. ConfigError names every
/// problem, one line each.
LoadedConfig load_experiment(const std::string& path, std::span<const std::string> overrides = {});

/// The same from a text. `origin` is its name in messages; its paths are relative to the
/// directory of `origin`.
LoadedConfig parse_experiment(std::string_view text, const std::string& origin,
                              std::span<const std::string> overrides = {});

/// Makes all paths absolute, before a configuration is printed or compared with a printed one.
void make_paths_absolute(ExperimentConfig& config);

/// The whole configuration as YAML that loads to the same values from any directory. with_origin adds a
/// comment to each line that says where its value came from. With model.init_from, keys of the model that
/// were not set are omitted, because the checkpoint determines them.
std::string to_yaml(const LoadedConfig& loaded, bool with_origin);

/// A hash of 16 hexadecimal digits, equal for configurations that compute the same numbers. It does not cover
/// run, checkpoint, log, device.threads, parallel.timeout and sequence.boundary_memory, nor the directories
/// of paths, so files may be moved.
std::string config_hash(const ExperimentConfig& config);

/// The documentation of all keys as Markdown, one table per section: the body of docs/config.md.
std::string config_reference();

}  // namespace natrix
