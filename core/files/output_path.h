// Where the bytes of an output path go.
//
//   a regular file, or nothing yet    replaced, or created
//   a symbolic link                   followed, link by link; the links stay
//   a pipe, a character device        written into
//   /dev/stdout, /dev/fd/N            the open descriptor is written into, whatever it is: a redirection or a
//                                     process substitution of a shell is a descriptor's name, not a file's
//   anything else                     refused: directories, sockets, block devices, mount points, immutable
//                                     files
//
// A path that cannot be written is an OutputPathError; check_output() of atomic_file.h finds it before the
// work starts.
#pragma once

#include <string>

#include "kernels/base/check.h"

namespace natrix {

/// The machine refuses to write, and another path would help. A command that checks its flags first makes it
/// an InputError.
class OutputPathError : public RunError {
 public:
  using RunError::RunError;
};

struct OutputPath {
  enum class Kind {
    kFile,        // replaced or created
    kStream,      // opened and written through
    kDescriptor,  // of this process; written through
    kNull,        // keeps nothing
  };
  Kind kind = Kind::kFile;
  std::string directory;  // of a file, with all links followed …
  std::string name;       // … and its name there; of a stream, the path as it was given
  int descriptor = -1;
};

/// Touches nothing. OutputPathError if nothing can be written there for a reason that shows in advance.
OutputPath resolve_output(const std::string& path);

/// Whether two outputs are one file, so that the second would replace the first.
bool is_same_file(const OutputPath& a, const OutputPath& b);

/// Proves that a directory, the value of `flag`, can be written, or made: then its nearest parent that exists
/// counts. Touches nothing. InputError if it cannot.
void check_output_directory(const std::string& flag, const std::string& path);

/// The end of a chain of symbolic links: a path that is no link, and may not exist yet. OutputPathError for a
/// loop, and for a link into a directory that does not exist.
std::string follow_links(const std::string& path);

/// An errno that another path avoids: no such directory, no permission, a read-only disk, …
bool is_fault_of_path(int error);
std::string error_text(int error);

}  // namespace natrix
