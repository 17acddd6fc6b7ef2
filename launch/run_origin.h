// RunOrigin: what a run was started from, as RUN/run.json keeps it: the YAML file and the identity of its
// data.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/text/data_identity.h"

namespace natrix {

struct RunOrigin {
  std::string config_file;                   // absolute; empty: not known
  std::string config_hash;                   // of its bytes
  std::map<std::string, DataIdentity> data;  // by the key that names them: data.train
};

/// Nothing where there is no such file: runs of earlier versions have none. InputError if it is damaged.
std::optional<RunOrigin> read_run_origin(const std::string& path);
void write_run_origin(const std::string& path, const RunOrigin& origin);

}  // namespace natrix
