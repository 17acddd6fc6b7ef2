// Methods of strings, as in Python.
#pragma once

#include <string>
#include <string_view>

#include "core/chat/arguments.h"
#include "core/chat/value.h"

namespace natrix::chat {

bool is_string_method(std::string_view name);
Value call_string_method(const Text& self, std::string_view name, Arguments& arguments, Budget& budget);

/// str.capitalize.
std::string capitalized(std::string_view text);
/// Without the code points of `characters` at the ends chosen; null: without whitespace.
std::string stripped(std::string_view text, const std::string* characters, bool left, bool right);
/// The texts of the items, with `glue` between them.
std::string joined(const Items& items, std::string_view glue, Budget& budget);

}  // namespace natrix::chat
