#include "core/tokenizers/normalizer.h"

#include "core/tokenizers/characters.h"
#include "core/tokenizers/utf8.h"

namespace natrix {

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t found = text.find(from, at);
    out += text.substr(at, found - at);
    if (found == std::string_view::npos) return out;
    out += to;
    at = found + from.size();
  }
}

std::string stripped(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Character c = character_at(text, 0);
    if (!is_white_space(c.code)) break;
    text.remove_prefix(static_cast<size_t>(c.length));
  }
  size_t end = 0;  // of the last character that is not white space
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    i += static_cast<size_t>(c.length);
    if (!is_white_space(c.code)) end = i;
  }
  return std::string(right ? text.substr(0, end) : text);
}

}  // namespace natrix
