#include "core/report/say.h"

#include <cstdio>

namespace natrix {

void say(std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(),
              stderr);  // stderr has no buffer that would keep an error for later
}

}  // namespace natrix
