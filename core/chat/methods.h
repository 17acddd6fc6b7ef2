// Methods of strings, lists and objects. Those that would change a value are refused, as in transformers' sandbox.
#pragma once

#include <string_view>

#include "core/chat/arguments.h"
#include "core/chat/value.h"

namespace natrix::chat {

bool has_method(const Value& value, std::string_view name);
Value call_method(const Value& self, std::string_view name, Arguments& arguments, Budget& budget);

}  // namespace natrix::chat
