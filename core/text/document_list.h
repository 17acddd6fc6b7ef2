// The files that paths of text stand for: a file is itself, a directory is every regular file below it.
//
// Links are followed, to files and to directories; what they lead to has the path by which it was reached,
// and counts as often as it is reached. Names that begin with a dot are left out, with all below them.
// Nothing else is: what cannot be a document (a link that leads nowhere or back, a pipe, a socket, a device)
// is an error.
#pragma once

#include <string>
#include <vector>

namespace natrix {

/// In the order of `paths`; of a directory in the order of the path's bytes, the same on every machine. `key`
/// names the setting that holds the paths. InputError names what is missing or cannot be a document.
std::vector<std::string> list_documents(const std::vector<std::string>& paths, const std::string& key);

/// InputError: `shards`, a directory of token shards or a file of it, stands beside other paths.
[[noreturn]] void fail_mixed_shards(const std::string& key, const std::string& shards);

}  // namespace natrix
