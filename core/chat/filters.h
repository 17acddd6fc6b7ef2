// Filters: "x | trim". A filter takes the value before the bar and the arguments in parentheses.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/chat/arguments.h"
#include "core/chat/value.h"

namespace natrix::chat {

bool is_filter(std::string_view name);
std::string unknown_filter(std::string_view name);
/// Fault if there is no such filter.
Value run_filter(std::string_view name, const Value& value, Arguments& arguments, Budget& budget);

struct Filter {
  std::string_view name;
  Value (*run)(const Value& value, Arguments& arguments, Budget& budget);
};
std::span<const Filter> text_filters();      // of strings and numbers (text_filters.cpp)
std::span<const Filter> sequence_filters();  // of lists and objects (sequence_filters.cpp)

}  // namespace natrix::chat
