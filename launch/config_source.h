// What a command's CONFIG argument is: a YAML file of the user's, a run directory, or the config.yaml in one.
//
// A run goes on where its directory lies, however it came there: the run.dir that its config.yaml holds gives
// way to the place of that file, and only run.dir=… on the command line is stronger.
#pragma once

#include <span>
#include <string>

#include "configs/schema/load.h"

namespace natrix {

struct ConfigSource {
  std::string file;          // that was read
  LoadedConfig loaded;       // with the overrides
  bool is_runs = false;      // the file is a run's own config.yaml
  std::string recorded_dir;  // run.dir as that says it
};

/// ConfigError or InputError where it cannot be read, or is a directory that holds no run.
ConfigSource load_config(const std::string& config, std::span<const std::string> overrides);

/// InputError where a run's own config.yaml names data that are not there: which, and how to say where they
/// are now. Other files are left to those who open them.
void require_recorded_data(const ConfigSource& source);

}  // namespace natrix
