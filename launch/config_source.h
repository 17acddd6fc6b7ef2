// Reads a command's argument CONFIG: a user's YAML file, a run directory, or the config.yaml in one.
//
// A run continues in the directory where it is now, even if it was moved. The place of its config.yaml
// therefore overrides the run.dir in that file. Only run.dir=… on the command line overrides the place.
#pragma once

#include <span>
#include <string>

#include "configs/schema/load.h"

namespace natrix {

struct ConfigSource {
  std::string file;          // the file that was read
  LoadedConfig loaded;       // its settings, with the overrides
  bool is_runs = false;      // the file is a run's own config.yaml
  std::string recorded_dir;  // run.dir as written in a run's own config.yaml
};

/// ConfigError or InputError if the file cannot be read, or if a directory holds no run.
ConfigSource load_config(const std::string& config, std::span<const std::string> overrides);

/// InputError if a run's own config.yaml names data files that are missing. The message names them and says how
/// to give their new place. For other YAML files, the code that opens the data reports missing files.
void require_recorded_data(const ConfigSource& source);

}  // namespace natrix
