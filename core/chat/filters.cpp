#include "core/chat/filters.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/files/json.h"

namespace natrix::chat {
namespace {

const Filter* filter_named(std::string_view name) {
  for (const auto filters : {text_filters(), sequence_filters()}) {
    const auto found = std::find_if(filters.begin(), filters.end(), [&](auto& f) { return f.name == name; });
    if (found != filters.end()) return &*found;
  }
  return nullptr;
}

}  // namespace

bool is_filter(std::string_view name) {
  return filter_named(name) != nullptr;
}

std::string unknown_filter(std::string_view name) {
  return fmt::format("unknown filter {}; docs/chat.md lists the filters that natrix knows", excerpt(name));
}

Value run_filter(std::string_view name, const Value& value, Arguments& arguments, Budget& budget) {
  budget.step();
  const Filter* filter = filter_named(name);
  if (!filter) throw Fault(unknown_filter(name));
  try {
    return filter->run(value, arguments, budget);
  } catch (const Fault& fault) {
    throw Fault(fmt::format("|{}: {}", name, fault.what()));
  }
}

}  // namespace natrix::chat
