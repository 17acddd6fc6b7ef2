// A session in a file of constant size (core/io/state_file.h): the carried states and the pending token.
#pragma once

#include <string>

#include "core/generate/session.h"

namespace natrix {

/// model_hash: hash_weights() of the session's model; a state is refused by any other. NonfiniteError, naming
/// the tensor, and no file, where a state is not finite: nothing could go on from it.
void save_session(const std::string& path, const std::string& model_hash, const Session& session);
/// InputError for a file that is damaged, or of another model or batch; NonfiniteError as above.
void load_session(const std::string& path, const std::string& model_hash, Session& session);

}  // namespace natrix
