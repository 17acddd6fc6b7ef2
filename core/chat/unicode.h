// UTF-8 strings as Python's str: lengths and positions count code points. A byte that is not valid UTF-8 counts as
// a code point of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace natrix::chat {

/// Bytes of the code point at the start of a text that is not empty.
size_t point_bytes(std::string_view text);
std::vector<std::string_view> code_points(std::string_view text);
int64_t count_code_points(std::string_view text);
uint32_t decode_point(std::string_view point);
void append_point(std::string& text, uint32_t code);

/// str.isspace of one code point.
bool is_space(std::string_view point);
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

/// Letters of Latin, Greek and Cyrillic change case; others stay as they are (docs/chat.md).
std::string lower(std::string_view text);
std::string upper(std::string_view text);
/// str.splitlines, without the line ends.
std::vector<std::string> split_lines(std::string_view text);
std::string replace_all(std::string_view text, std::string_view from, std::string_view to, int64_t most = -1);
/// & < > ' and " as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace natrix::chat
