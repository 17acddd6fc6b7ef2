#include "launch/config_source.h"

#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <vector>

#include "kernels/base/check.h"
#include "launch/run_origin.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRunsOwn = "config.yaml";

/// run.json marks a run. Runs of earlier versions lack it, but have metrics and checkpoints.
bool lies_in_run(const fs::path& file) {
  std::error_code error;
  if (file.filename() != kRunsOwn) return false;
  const fs::path dir = file.parent_path();
  if (fs::exists(dir / "run.json", error)) return read_run_origin((dir / "run.json").string()).has_value();
  return fs::exists(dir / "metrics.jsonl", error) &&
         fs::exists(fs::symlink_status(dir / "checkpoints", error));
}

/// The path of a file that moved together with the run; empty if there is no such file.
std::string moved_along(const ConfigSource& source, const std::string& path) {
  std::error_code error;
  const fs::path from_run = fs::path(path).lexically_relative(source.recorded_dir);
  if (from_run.empty()) return "";
  const fs::path now = (fs::absolute(source.file, error).parent_path() / from_run).lexically_normal();
  return fs::exists(now, error) ? now.string() : "";
}

void require_recorded(const ConfigSource& source, const std::string& key,
                      const std::vector<DataEntry>& entries, bool list) {
  std::error_code error;
  // Megatron's two files have a name in common that is not one of a file.
  const auto is_there = [&](const std::string& path) {
    return fs::exists(path, error) || fs::exists(path + ".idx", error);
  };
  if (!source.loaded.origin_of(key).starts_with(source.file)) return;  // it was given on the command line
  std::string missing;
  std::vector<std::string> now;
  bool all_found = true;
  for (DataEntry entry : entries) {
    if (!is_there(entry.path)) {
      if (missing.empty()) missing = entry.path;
      entry.path = moved_along(source, entry.path);
      all_found = all_found && !entry.path.empty();
    }
    now.push_back(item_of_list(entry));
  }
  if (missing.empty()) return;
  const std::string value = !all_found ? "PATH" : fmt::format("{}", fmt::join(now, ", "));
  const std::string setting = list ? fmt::format("'{}=[{}]'", key, value) : fmt::format("{}={}", key, value);
  throw InputError(
      fmt::format("{}: {}: {} does not exist; if it has moved{}, say on the command line where it is now: {}",
                  source.loaded.origin_of(key), key, missing, all_found ? " with the run" : "", setting));
}

}  // namespace

ConfigSource load_config(const std::string& config, std::span<const std::string> overrides) {
  std::error_code error;
  ConfigSource source{.file = config, .loaded = {}, .is_runs = false, .recorded_dir = {}};
  if (fs::is_directory(config, error)) {
    source.file = (fs::path(config) / kRunsOwn).string();
    if (!fs::exists(source.file, error) || !lies_in_run(source.file)) {
      throw InputError(fmt::format(
          "{} is a directory, but not that of a run; expected a YAML file, or a run directory, which "
          "holds config.yaml and checkpoints",
          config));
    }
  }
  source.loaded = load_experiment(source.file, overrides);
  source.is_runs = lies_in_run(source.file);
  if (!source.is_runs) return source;
  source.recorded_dir = load_experiment(source.file).config.run.dir;
  if (source.loaded.origin_of("run.dir") == "command line") return source;
  const fs::path folder = fs::path(source.file).parent_path();
  source.loaded.config.run.dir = folder.empty() ? fs::current_path(error).string() : folder.string();
  source.loaded.origin["run.dir"] = "where " + source.file + " lies";
  return source;
}

void require_recorded_data(const ConfigSource& source) {
  if (!source.is_runs) return;
  const DataConfig& data = source.loaded.config.data;
  require_recorded(source, "data.train", data.train, true);
  require_recorded(source, "data.eval", data.eval, true);
  if (!data.batches.empty()) require_recorded(source, "data.batches", {DataEntry(data.batches)}, false);
}

}  // namespace natrix
