// Values as text: str() and repr() of Python, and json.dumps.
#pragma once

#include <optional>
#include <string>

#include "core/chat/value.h"

namespace natrix::chat {

/// str(value). Fault for what Python would print with an address: functions, iterators, namespaces.
std::string to_text(const Value& value, Budget& budget);
std::string repr(const Value& value, Budget& budget);
/// repr of a float: the shortest text that reads back the same.
std::string float_text(double value);

struct JsonStyle {
  bool ascii = false, sort_keys = false;
  std::optional<std::string> indent;  // the text of one level; nothing: all on one line
  std::string comma = ", ", colon = ": ";
};
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace natrix::chat
