// Experiments from YAML: strict, with defaults, inheritance (extends), overrides from the command line, and a
// record of where each value came from.
//
// A default that another key bounds gives way to it: sequence.chunk to length, model.moe.top_k to
// num_experts, optimizer.min_lr to lr, optimizer.warmup_steps to train.steps. A value that was set does not:
// it is refused.
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

/// Reads a file, and what it extends, then overrides of the form section.key=value. Paths in a file are
/// relative to that file, in an override to the current directory. ConfigError names every problem it found,
/// a line each.
LoadedConfig load_experiment(const std::string& path, std::span<const std::string> overrides = {});

/// The same from a text; `origin` stands for its name in messages and decides what its paths are relative to.
LoadedConfig parse_experiment(std::string_view text, const std::string& origin,
                              std::span<const std::string> overrides = {});

/// What a configuration names no longer depends on the current directory: for one that is printed or compared
/// with one that was.
void make_paths_absolute(ExperimentConfig& config);

/// The whole configuration as YAML that loads to the same values, from whatever folder; with_origin adds a
/// comment to each line saying where its value came from. With model.init_from, keys of the model that were
/// not set are left out: they are the checkpoint's.
std::string to_yaml(const LoadedConfig& loaded, bool with_origin);

/// 16 hexadecimal digits, the same for configurations that ask for the same numbers: run, checkpoint, log,
/// device.threads, parallel.timeout and sequence.boundary_memory are left out, and so are the folders of
/// paths, so that it survives a move.
std::string config_hash(const ExperimentConfig& config);

/// The keys' documentation as Markdown tables, a section each: the body of docs/config.md.
std::string config_reference();

}  // namespace natrix
