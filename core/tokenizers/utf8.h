// UTF-8, one character at a time. Text may hold any bytes: one that is not part of a valid character is a character of
// its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace natrix {

struct Character {
  uint32_t code = 0;  // the code point; kInvalid for a byte that is not part of one
  int length = 0;     // bytes; at least 1
};
inline constexpr uint32_t kInvalidCharacter = 0xFFFFFFFF;

/// The character that starts at text[at]; at < text.size().
Character character_at(std::string_view text, size_t at);
/// Appends a code point.
void append_utf8(std::string& text, uint32_t code);
bool is_ascii(std::string_view text);
bool is_utf8(std::string_view text);

}  // namespace natrix
