// A session as a file of constant size (core/io/state_file.h): the carried states and the pending token.
#pragma once

#include <string>

#include "core/generate/session.h"

namespace natrix {

/// model_hash: hash_weights() of the session's model. No other model accepts the file. If a state is not
/// finite, writes no file and throws NonfiniteError, which names the tensor.
/// note: StateInfo::note.
void save_session(const std::string& path, const std::string& model_hash, const Session& session,
                  const std::string& note = {});
/// Returns the file's note. InputError if the file is damaged or belongs to another model or batch size.
/// NonfiniteError as above.
std::string load_session(const std::string& path, const std::string& model_hash, Session& session);

}  // namespace natrix
