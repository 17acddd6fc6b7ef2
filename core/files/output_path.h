// Decides what an output path names and how it is written.
//
//   a regular file, or nothing yet    replaced, or created
//   a symbolic link                   followed, link by link; the links stay
//   a pipe, a character device        written into
//   /dev/stdout, /dev/fd/N            the open descriptor is written into, whatever it is; this includes a
//                                     shell's redirections and process substitutions
//   anything else                     refused: directories, sockets, block devices, mount points, immutable
//                                     files
//
// If a path cannot be written, the error is an OutputPathError. check_output() (atomic_file.h) finds it
// before the work starts.
#pragma once

#include <string>

#include "kernels/base/check.h"

namespace natrix {

/// The machine refuses to write, but another path would help. Commands that check their flags first turn it
/// into an InputError.
class OutputPathError : public RunError {
 public:
  using RunError::RunError;
};

struct OutputPath {
  enum class Kind {
    kFile,        // replaced or created
    kStream,      // opened and written through
    kDescriptor,  // an open descriptor of this process; written through
    kNull,        // discards everything
  };
  Kind kind = Kind::kFile;
  std::string directory;  // a file's directory, with all links followed
  std::string name;       // a file's name in it, or a stream's path as given
  int descriptor = -1;
};

/// Changes nothing. OutputPathError if it is certain in advance that the path cannot be written.
OutputPath resolve_output(const std::string& path);

/// Whether two outputs are the same file, so that the second would replace the first.
bool is_same_file(const OutputPath& a, const OutputPath& b);

/// Checks that a directory, the value of `flag`, can be written. If it does not exist, checks that it can be
/// created in its nearest existing parent. Changes nothing. InputError if it cannot be written.
void check_output_directory(const std::string& flag, const std::string& path);

/// Follows a chain of symbolic links to a path that is not a link; it need not exist. OutputPathError for a
/// loop, and for a link into a directory that does not exist.
std::string follow_links(const std::string& path);

/// Whether another path would avoid this errno: no such directory, no permission, a read-only disk, …
bool is_fault_of_path(int error);
std::string error_text(int error);

}  // namespace natrix
