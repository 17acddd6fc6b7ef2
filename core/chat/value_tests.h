// Tests: "x is string".
#pragma once

#include <string>
#include <string_view>

#include "core/chat/arguments.h"
#include "core/chat/value.h"

namespace natrix::chat {

bool is_value_test(std::string_view name);
std::string unknown_value_test(std::string_view name);
/// Fault if there is no such test.
bool run_value_test(std::string_view name, const Value& value, Arguments& arguments, Budget& budget);

}  // namespace natrix::chat
