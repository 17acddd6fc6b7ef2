// Paths as people write and read them: a home directory behind ~, and the shortest form for a message.
#pragma once

#include <string>

namespace natrix {

struct ExpandedPath {
  std::string path;
  std::string problem;  // empty: there is none
};

/// As a shell does it: a leading ~ is the home directory, from HOME or else from the password database; a
/// leading ~user is that user's. A ~ elsewhere is part of a name. The empty path is a problem, too.
ExpandedPath expand_path(const std::string& path);

/// The path for a message: without "." and "..", and relative to the current directory if it lies below. A
/// path that would then mean another place, because of a symbolic link, stays as it is.
std::string shown_path(const std::string& path);

}  // namespace natrix
