#include "launch/warning.h"

#include <cstdio>

namespace natrix {

void print_warning(const std::string& what) {
  std::fputs(("natrix: warning: " + what + "\n").c_str(),
             stderr);  // fmt::print would throw if stderr is full
}

}  // namespace natrix
