// The letters that byte-level vocabularies write for bytes: a printable byte is its own character, and the others are moved
// to U+0100 and beyond, so that a file needs no escapes. " the" is written "Ġthe".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace natrix {

/// The bytes that a token stands for; nothing if it has a character that stands for no byte.
std::optional<std::string> bytes_of_letters(std::string_view token);
/// The reverse.
std::string letters_of_bytes(std::string_view bytes);

}  // namespace natrix
