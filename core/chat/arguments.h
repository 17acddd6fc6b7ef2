// Arguments: what a filter, method or function was called with.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/chat/value.h"

namespace natrix::chat {

class Arguments {
 public:
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at a place or of a name, or null. Each is asked for once; finish() refuses those that nobody
  /// asked for.
  const Value* take(size_t place, std::string_view name = {});
  /// The same for one that must be given.
  const Value& need(size_t place, std::string_view name = {});
  /// With a fallback for what is not given. Fault for another type.
  std::string text(size_t place, std::string_view name, std::string_view fallback);
  int64_t integer(size_t place, std::string_view name, int64_t fallback);
  bool boolean(size_t place, std::string_view name, bool fallback);
  void finish() const;

 private:
  std::vector<size_t> taken_places_;
  std::vector<std::string> taken_names_;
};

/// Fault unless it is a string.
const std::string& need_text(const Value& value, std::string_view what);
int64_t need_integer(const Value& value, std::string_view what);

}  // namespace natrix::chat
