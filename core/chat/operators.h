// Operators and access to parts, as in Python and jinja2.
#pragma once

#include <string>
#include <string_view>

#include "core/chat/value.h"

namespace natrix::chat {

/// + - * / // % **. Fault for types without the operator, for division by zero, and beyond 64 bits.
Value arithmetic(std::string_view op, const Value& a, const Value& b, Budget& budget);
/// "-", "+" or "not".
Value unary(std::string_view op, const Value& value);
/// == != < <= > >= in, "not in".
bool compare(std::string_view op, const Value& a, const Value& b, Budget& budget);

/// value.name: a method first, then a key, else undefined. Fault if the value itself is undefined.
Value attribute(const Value& value, const std::string& name, Budget& budget);
/// value[key]: an item first, then a method.
Value subscript(const Value& value, const Value& key, Budget& budget);
/// value[start:stop:step], where a none stands for what is left out.
Value slice(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget);
/// A path "a.b.0", as map(attribute=…) and selectattr take it.
Value attribute_path(const Value& value, const Value& path, Budget& budget);

/// Fault if the text would be too long.
Value concatenated(const Text& a, const Text& b, Budget& budget);

}  // namespace natrix::chat
