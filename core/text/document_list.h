// Lists the documents that paths of text stand for. A file stands for itself, a directory for every regular
// file below it.
//
// Links to files and directories are followed. Their targets have the path of the link, and count once for
// each path. Names that begin with a dot are skipped, with everything below them. Everything else that cannot
// be a document is an error: a link that leads nowhere or back, a pipe, a socket, a device.
#pragma once

#include <string>
#include <vector>

namespace natrix {

/// In the order of `paths`; within a directory in the byte order of the files' paths, which is the same on
/// every machine. `key` names the setting that holds the paths. InputError names what is missing or cannot
/// be a document.
std::vector<std::string> list_documents(const std::vector<std::string>& paths, const std::string& key);

/// Throws InputError: `shards`, a directory of token shards or a file of one, was given beside other paths.
[[noreturn]] void fail_mixed_shards(const std::string& key, const std::string& shards);

}  // namespace natrix
