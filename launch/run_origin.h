// RunOrigin: the YAML file and the identity of the data that a run was started from, as
// stored in RUN/run.json.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/text/data_identity.h"

namespace natrix {

struct RunOrigin {
  std::string config_file;                   // absolute path; empty: not known
  std::string config_hash;                   // hash of its bytes
  std::map<std::string, DataIdentity> data;  // by the key that names them: data.train
};

/// Returns nothing if there is no such file, as in runs of earlier versions. InputError if it is damaged.
std::optional<RunOrigin> read_run_origin(const std::string& path);
void write_run_origin(const std::string& path, const RunOrigin& origin);

}  // namespace natrix
