#include "core/chat/arguments.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/files/json.h"

namespace natrix::chat {

const Value* Arguments::take(size_t place, std::string_view name) {
  taken_places_.push_back(place);
  if (!name.empty()) taken_names_.emplace_back(name);
  const auto found =
      std::find_if(named.begin(), named.end(), [&](auto& a) { return !name.empty() && a.first == name; });
  if (place < positional.size()) {
    if (found != named.end()) throw Fault(fmt::format("argument {} is given twice", excerpt(name)));
    return &positional[place];
  }
  return found == named.end() ? nullptr : &found->second;
}

const Value& Arguments::need(size_t place, std::string_view name) {
  const Value* value = take(place, name);
  if (!value) throw Fault(fmt::format("argument {} is missing", place + 1));
  return *value;
}

std::string Arguments::text(size_t place, std::string_view name, std::string_view fallback) {
  const Value* value = take(place, name);
  return value ? need_text(*value, name) : std::string(fallback);
}

int64_t Arguments::integer(size_t place, std::string_view name, int64_t fallback) {
  const Value* value = take(place, name);
  return value ? need_integer(*value, name) : fallback;
}

bool Arguments::boolean(size_t place, std::string_view name, bool fallback) {
  const Value* value = take(place, name);
  return value ? truth(*value) : fallback;
}

void Arguments::finish() const {
  for (size_t place = 0; place < positional.size(); ++place) {
    if (std::find(taken_places_.begin(), taken_places_.end(), place) == taken_places_.end()) {
      throw Fault(fmt::format("{} arguments; at most {} are known", positional.size(), place));
    }
  }
  for (const auto& [name, value] : named) {
    if (std::find(taken_names_.begin(), taken_names_.end(), name) == taken_names_.end()) {
      throw Fault(fmt::format("argument {} is unknown", excerpt(name)));
    }
  }
}

const std::string& need_text(const Value& value, std::string_view what) {
  require_defined(value);
  if (!value.text()) throw Fault(fmt::format("{} is {}; expected a string", what, type_name(value)));
  return value.text()->bytes;
}

int64_t need_integer(const Value& value, std::string_view what) {
  require_defined(value);
  if (!value.is_int() && !value.is_bool()) {
    throw Fault(fmt::format("{} is {}; expected an integer", what, type_name(value)));
  }
  return value.as_int();
}

}  // namespace natrix::chat
