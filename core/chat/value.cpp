#include "core/chat/value.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/chat/unicode.h"

namespace natrix::chat {
namespace {

int depth_of(const Value& value) {
  if (const List* list = value.list()) return list->depth;
  if (const Dict* dict = value.dict()) return dict->depth;
  return 0;
}

int checked_depth(int inner) {
  if (inner >= kMostValueDepth) {
    throw Fault(fmt::format("lists and objects nested deeper than {} levels", kMostValueDepth));
  }
  return inner + 1;
}

template <class T>
const T* shared(const auto& data) {
  const auto* held = std::get_if<std::shared_ptr<const T>>(&data);
  return held ? held->get() : nullptr;
}

bool equal_lists(const List& a, const List& b, Budget& budget) {
  if (a.kind != b.kind || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(a.items[i], b.items[i], budget)) return false;
  }
  return true;
}

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = find(b, entry.first, budget);
    return other && equal(entry.second, *other, budget);
  });
}

template <class T>
int sign(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

}  // namespace

Value Value::text(std::string bytes, bool markup) {
  Value v;
  v.data_ = std::make_shared<const Text>(Text{std::move(bytes), markup});
  return v;
}

Value Value::list(Items items, ListKind kind) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  Value v;
  v.data_ = std::make_shared<const List>(List{std::move(items), kind, checked_depth(depth)});
  return v;
}

Value Value::dict(Entries entries) {
  int depth = 0;
  for (const auto& [key, value] : entries) depth = std::max({depth, depth_of(key), depth_of(value)});
  Value v;
  v.data_ = std::make_shared<const Dict>(Dict{std::move(entries), checked_depth(depth)});
  return v;
}

const Text* Value::text() const {
  return shared<Text>(data_);
}
const List* Value::list() const {
  return shared<List>(data_);
}
const Dict* Value::dict() const {
  return shared<Dict>(data_);
}
const Function* Value::function() const {
  return shared<Function>(data_);
}

Namespace* Value::space() const {
  auto* held = std::get_if<Namespace*>(&data_);
  return held ? *held : nullptr;
}

std::string type_name(const Value& value) {
  if (value.is_undefined()) return "undefined";
  if (value.is_none()) return "none";
  if (value.is_bool()) return "a boolean";
  if (value.is_int()) return "an integer";
  if (value.is_float()) return "a float";
  if (value.text()) return "a string";
  if (value.dict()) return "an object";
  if (value.space()) return "a namespace";
  if (value.function()) return "a function";
  switch (value.list()->kind) {
    case ListKind::kTuple: return "a tuple";
    case ListKind::kRange: return "a range";
    case ListKind::kView: return "a view of an object";
    case ListKind::kIterator: return "an iterator";
    case ListKind::kList: break;
  }
  return "a list";
}

void require_defined(const Value& value) {
  if (const Undefined* u = value.undefined()) throw Fault(fmt::format("{} is undefined", u->name));
}

bool truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_number()) return value.as_float() != 0;
  if (const Text* text = value.text()) return !text->bytes.empty();
  if (const List* list = value.list()) return list->kind == ListKind::kIterator || !list->items.empty();
  if (const Dict* dict = value.dict()) return !dict->entries.empty();
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.step();
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.as_float() == b.as_float() : a.as_int() == b.as_int();
  }
  if (a.text() && b.text()) return a.text()->bytes == b.text()->bytes;
  if (a.list() && b.list()) return a.list() == b.list() || equal_lists(*a.list(), *b.list(), budget);
  if (a.dict() && b.dict()) return a.dict() == b.dict() || equal_dicts(*a.dict(), *b.dict(), budget);
  if (a.space() || b.space()) return a.space() == b.space();
  if (a.function() || b.function()) return a.function() == b.function();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

int order(const Value& a, const Value& b, Budget& budget, bool ignore_case) {
  budget.step();
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? sign(a.as_float(), b.as_float()) : sign(a.as_int(), b.as_int());
  }
  // UTF-8 sorts by code points, as Python does.
  if (a.text() && b.text() && ignore_case) return sign(lower(a.text()->bytes), lower(b.text()->bytes));
  if (a.text() && b.text()) return sign(a.text()->bytes, b.text()->bytes);
  const List *x = a.list(), *y = b.list();
  if (x && y && x->kind == y->kind && (x->kind == ListKind::kList || x->kind == ListKind::kTuple)) {
    for (size_t i = 0; i < std::min(x->items.size(), y->items.size()); ++i) {
      if (!equal(x->items[i], y->items[i], budget)) return order(x->items[i], y->items[i], budget);
    }
    return sign(x->items.size(), y->items.size());
  }
  require_defined(a);
  require_defined(b);
  throw Fault(fmt::format("{} and {} have no order", type_name(a), type_name(b)));
}

bool contains(const Value& whole, const Value& part, Budget& budget) {
  if (const Text* text = whole.text()) {
    require_defined(part);
    if (!part.text()) throw Fault(fmt::format("a string cannot contain {}", type_name(part)));
    return text->bytes.find(part.text()->bytes) != std::string::npos;
  }
  if (const Dict* dict = whole.dict()) return find(*dict, part, budget) != nullptr;
  const Items items = iterate(whole, budget);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, part, budget); });
}

Items iterate(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (const List* list = value.list()) {
    if (list->kind == ListKind::kIterator && std::exchange(list->spent, true)) return {};
    budget.bytes(list->items.size() * sizeof(Value));
    return list->items;
  }
  Items items;
  if (const Text* text = value.text()) {
    budget.bytes(text->bytes.size() * sizeof(Value));
    for (const std::string_view point : code_points(text->bytes)) {
      items.push_back(Value::text(std::string(point), text->markup));
    }
    return items;
  }
  if (const Dict* dict = value.dict()) {
    budget.bytes(dict->entries.size() * sizeof(Value));
    for (const auto& entry : dict->entries) items.push_back(entry.first);
    return items;
  }
  throw Fault(fmt::format("{} has no items", type_name(value)));
}

int64_t length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const Text* text = value.text()) return count_code_points(text->bytes);
  const List* list = value.list();
  if (list && list->kind != ListKind::kIterator) return static_cast<int64_t>(list->items.size());
  if (const Dict* dict = value.dict()) return static_cast<int64_t>(dict->entries.size());
  const char* advice = list ? "; put |list before |length" : "";
  throw Fault(fmt::format("{} has no length{}", type_name(value), advice));
}

const Value* find(const Dict& dict, const Value& key, Budget& budget) {
  const bool hashable = !key.dict() && !(key.list() && key.list()->kind == ListKind::kList);
  if (!hashable) throw Fault(fmt::format("{} cannot be a key", type_name(key)));
  for (const auto& entry : dict.entries) {
    if (equal(entry.first, key, budget)) return &entry.second;
  }
  return nullptr;
}

const Value* find(const Dict& dict, std::string_view key) {
  for (const auto& entry : dict.entries) {
    if (entry.first.text() && entry.first.text()->bytes == key) return &entry.second;
  }
  return nullptr;
}

void insert(Entries& entries, Value key, Value value, Budget& budget) {
  for (auto& entry : entries) {
    if (equal(entry.first, key, budget)) {
      entry.second = std::move(value);
      return;
    }
  }
  entries.emplace_back(std::move(key), std::move(value));
}

template <class Json>
Value from_json(const Json& json, Budget& budget, int depth) {
  checked_depth(depth);
  if (json.is_boolean()) return Value(json.template get<bool>());
  if (json.is_number_unsigned() && json.template get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    throw Fault("an integer above 2^63 - 1 in the conversation");
  }
  if (json.is_number_integer()) return Value(json.template get<int64_t>());
  if (json.is_number()) return Value(json.template get<double>());
  if (json.is_string()) return Value::text(json.template get<std::string>());
  if (json.is_array()) {
    Items items;
    for (const auto& item : json) items.push_back(from_json(item, budget, depth + 1));
    return Value::list(std::move(items));
  }
  if (json.is_object()) {
    Entries entries;  // JSON's keys are distinct
    for (const auto& [key, item] : json.items()) {
      entries.emplace_back(Value::text(key), from_json(item, budget, depth + 1));
    }
    return Value::dict(std::move(entries));
  }
  return Value(nullptr);
}

template Value from_json(const nlohmann::json&, Budget&, int);
template Value from_json(const nlohmann::ordered_json&, Budget&, int);

}  // namespace natrix::chat
