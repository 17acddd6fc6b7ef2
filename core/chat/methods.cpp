#include "core/chat/methods.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "core/chat/printing.h"
#include "core/chat/string_methods.h"
#include "core/chat/unicode.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

constexpr std::array<std::string_view, 7> kListWrites = {"append", "clear",  "extend", "insert",
                                                         "pop",    "remove", "reverse"};
constexpr std::array<std::string_view, 5> kDictReads = {"get", "items", "keys", "values", "copy"};
constexpr std::array<std::string_view, 5> kDictWrites = {"clear", "pop", "popitem", "setdefault", "update"};

bool one_of(const auto& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Value call_dict(const Value& self, std::string_view name, Arguments& arguments, Budget& budget) {
  const Dict& dict = *self.dict();
  if (name == "get") {
    const Value& key = arguments.need(0);
    const Value* fallback = arguments.take(1);
    arguments.finish();
    const Value* found = find(dict, key, budget);
    return found ? *found : fallback ? *fallback : Value(nullptr);
  }
  arguments.finish();
  if (name == "copy") return self;
  budget.bytes(dict.entries.size() * 2 * sizeof(Value));
  Items items;
  for (const auto& [key, value] : dict.entries) {
    items.push_back(name == "keys"     ? key
                    : name == "values" ? value
                                       : Value::list({key, value}, ListKind::kTuple));
  }
  return Value::list(std::move(items), ListKind::kView);
}

Value call_list(const Value& self, std::string_view name, Arguments& arguments, Budget& budget) {
  if (name == "copy") {
    arguments.finish();
    return self;
  }
  const Value& wanted = arguments.need(0);
  arguments.finish();
  const Items& items = self.list()->items;
  const auto matches = [&](const Value& item) { return equal(item, wanted, budget); };
  if (name == "count") return Value(int64_t{std::count_if(items.begin(), items.end(), matches)});
  const auto found = std::find_if(items.begin(), items.end(), matches);
  if (found == items.end()) throw Fault("index() of an item that the list does not have");
  return Value(int64_t{found - items.begin()});
}

bool changes_list(const Value& self, std::string_view name) {
  const List* list = self.list();
  return list && list->kind == ListKind::kList && (one_of(kListWrites, name) || name == "sort");
}

}  // namespace

bool has_method(const Value& value, std::string_view name) {
  if (value.text()) return is_string_method(name);
  if (value.dict()) return one_of(kDictReads, name) || one_of(kDictWrites, name);
  const List* list = value.list();
  if (!list || list->kind == ListKind::kIterator || list->kind == ListKind::kView) return false;
  if (name == "copy") return list->kind == ListKind::kList;
  return name == "index" || name == "count" || changes_list(value, name);
}

Value call_method(const Value& self, std::string_view name, Arguments& arguments, Budget& budget) {
  if (changes_list(self, name) || (self.dict() && one_of(kDictWrites, name))) {
    throw Fault(
        fmt::format(".{}() changes {}, which a template may not do; build a new one with + or a namespace",
                    name, type_name(self)));
  }
  if (self.text()) return call_string_method(*self.text(), name, arguments, budget);
  return self.dict() ? call_dict(self, name, arguments, budget) : call_list(self, name, arguments, budget);
}

}  // namespace natrix::chat
