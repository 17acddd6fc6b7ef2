#include "configs/schema/paths.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>
#include <vector>

#include "configs/schema/source_text.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

/// The home directory that the password database has; an empty path and no problem where it has none.
template <class LookUp>
ExpandedPath look_up_home(const LookUp& look_up) {
  passwd entry{}, *found = nullptr;
  std::vector<char> texts(1024);
  int error = look_up(&entry, texts, &found);
  while (error == ERANGE && texts.size() < (size_t{1} << 20)) {
    texts.resize(2 * texts.size());
    error = look_up(&entry, texts, &found);
  }
  // Some systems report an unknown user as one of these errors.
  const bool unknown = error == ENOENT || error == ESRCH || error == EBADF || error == EPERM;
  if (error != 0 && !unknown) {
    return {.path = "",
            .problem = fmt::format("the password database cannot be read: {}", std::strerror(error))};
  }
  return {.path = found != nullptr && found->pw_dir != nullptr ? found->pw_dir : "", .problem = ""};
}

ExpandedPath own_home() {
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    if (*home == '/') return {.path = home, .problem = ""};
    return {.path = "", .problem = fmt::format("HOME is {}, expected an absolute path", shortened(home))};
  }
  ExpandedPath home = look_up_home([](passwd* entry, std::vector<char>& texts, passwd** found) {
    return getpwuid_r(getuid(), entry, texts.data(), texts.size(), found);
  });
  if (home.path.empty() && home.problem.empty())
    home.problem =
        "HOME is not set, and the password database knows no home directory of this user; write the path "
        "in full";
  return home;
}

ExpandedPath home_of(const std::string& user) {
  ExpandedPath home = look_up_home([&](passwd* entry, std::vector<char>& texts, passwd** found) {
    return getpwnam_r(user.c_str(), entry, texts.data(), texts.size(), found);
  });
  if (home.path.empty() && home.problem.empty())
    home.problem = fmt::format(
        "there is no user {0} with a home directory; write ./~{0} for a file of that name", shortened(user));
  return home;
}

}  // namespace

ExpandedPath expand_path(const std::string& path) {
  if (path.empty()) return {.path = "", .problem = "the path is empty"};
  if (path[0] != '~') return {.path = path, .problem = ""};
  const size_t slash = std::min(path.find('/'), path.size());
  ExpandedPath home = slash == 1 ? own_home() : home_of(path.substr(1, slash - 1));
  if (!home.problem.empty()) return {.path = "", .problem = shortened(path) + ": " + home.problem};
  if (slash < path.size()) {
    while (home.path.ends_with('/')) home.path.pop_back();
  }
  return {.path = home.path + path.substr(slash), .problem = ""};
}

std::string shown_path(const std::string& path) {
  std::error_code error;
  const fs::path here = fs::current_path(error);
  if (path.empty() || error) return path;
  const fs::path whole = (here / path).lexically_normal();
  fs::path shown = whole.lexically_relative(here);
  if (shown.empty() || *shown.begin() == "..")
    shown = fs::path(path).is_absolute() ? whole : fs::path(path).lexically_normal();
  const fs::path meant = fs::weakly_canonical(here / path, error);
  const fs::path found = fs::weakly_canonical(here / shown, error);
  return error || meant != found ? path : shown.string();
}

}  // namespace natrix
