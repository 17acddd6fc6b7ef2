#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "core/chat/filters.h"
#include "core/chat/operators.h"
#include "core/chat/printing.h"
#include "core/chat/string_methods.h"
#include "core/chat/unicode.h"
#include "core/chat/value_tests.h"

namespace natrix::chat {
namespace {

/// The items of a value, each by the attribute that the argument at `place` names, if it names one.
Items keyed(const Items& items, const Value* path, Budget& budget) {
  if (!path || path->is_none()) return items;
  Items keys;
  for (const Value& item : items) keys.push_back(attribute_path(item, *path, budget));
  return keys;
}

Value length_filter(const Value& value, Arguments& arguments, Budget&) {
  arguments.finish();
  return Value(length(value));
}

Value fallback(const Value& value, Arguments& arguments, Budget&) {
  const Value* other = arguments.take(0, "default_value");
  const bool if_false = arguments.boolean(1, "boolean", false);
  arguments.finish();
  const bool missing = value.is_undefined() || (if_false && !truth(value));
  return !missing ? value : other ? *other : Value::text("");
}

Value join(const Value& value, Arguments& arguments, Budget& budget) {
  const Value* glue = arguments.take(0, "d");
  const Value* path = arguments.take(1, "attribute");
  arguments.finish();
  const Items items = keyed(iterate(value, budget), path, budget);
  return Value::text(joined(items, glue ? to_text(*glue, budget) : "", budget));
}

Value first(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  const Items items = iterate(value, budget);
  return items.empty() ? Value(Undefined{"the first item of an empty list"}) : items.front();
}

Value last(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  if (value.list() && value.list()->kind == ListKind::kIterator)
    throw Fault("an iterator has no last item; put |list before");
  const Items items = iterate(value, budget);
  return items.empty() ? Value(Undefined{"the last item of an empty list"}) : items.back();
}

Value to_list(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  return Value::list(iterate(value, budget));
}

Value reverse(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  if (value.text()) return slice(value, Value(nullptr), Value(nullptr), Value(int64_t{-1}), budget);
  Items items = iterate(value, budget);
  std::reverse(items.begin(), items.end());
  return Value::list(std::move(items), ListKind::kIterator);
}

Value items_filter(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  if (value.is_undefined()) return Value::list({}, ListKind::kIterator);
  if (!value.dict()) throw Fault(fmt::format("the value is {}; expected an object", type_name(value)));
  Items pairs;
  budget.bytes(value.dict()->entries.size() * 4 * sizeof(Value));
  for (const auto& [key, item] : value.dict()->entries)
    pairs.push_back(Value::list({key, item}, ListKind::kTuple));
  return Value::list(std::move(pairs), ListKind::kIterator);
}

/// The items in the order of their keys; equal ones stay as they are.
Items sorted(const Items& items, const Items& keys, bool ignore_case, bool reversed, Budget& budget) {
  std::vector<size_t> places(items.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = i;
  std::stable_sort(places.begin(), places.end(), [&](size_t a, size_t b) {
    const int sign = order(keys[a], keys[b], budget, ignore_case);
    return reversed ? sign > 0 : sign < 0;
  });
  Items out;
  for (const size_t place : places) out.push_back(items[place]);
  return out;
}

Value sort(const Value& value, Arguments& arguments, Budget& budget) {
  const bool reversed = arguments.boolean(0, "reverse", false),
             sensitive = arguments.boolean(1, "case_sensitive", false);
  const Value* path = arguments.take(2, "attribute");
  arguments.finish();
  if (path && path->text() && path->text()->bytes.find(',') != std::string::npos)
    throw Fault("sorting by several attributes is not supported");
  const Items items = iterate(value, budget);
  return Value::list(sorted(items, keyed(items, path, budget), !sensitive, reversed, budget));
}

Value dictsort(const Value& value, Arguments& arguments, Budget& budget) {
  const bool sensitive = arguments.boolean(0, "case_sensitive", false);
  const std::string by = arguments.text(1, "by", "key");
  const bool reversed = arguments.boolean(2, "reverse", false);
  arguments.finish();
  require_defined(value);
  if (!value.dict()) throw Fault(fmt::format("the value is {}; expected an object", type_name(value)));
  if (by != "key" && by != "value") throw Fault("by must be key or value");
  Items pairs, keys;
  budget.bytes(value.dict()->entries.size() * 6 * sizeof(Value));
  for (const auto& [key, item] : value.dict()->entries) {
    pairs.push_back(Value::list({key, item}, ListKind::kTuple));
    keys.push_back(by == "key" ? key : item);
  }
  return Value::list(sorted(pairs, keys, !sensitive, reversed, budget));
}

Value folded(const Value& key, bool sensitive) {
  return key.text() && !sensitive ? Value::text(lower(key.text()->bytes)) : key;
}

Value unique(const Value& value, Arguments& arguments, Budget& budget) {
  const bool sensitive = arguments.boolean(0, "case_sensitive", false);
  const Value* path = arguments.take(1, "attribute");
  arguments.finish();
  const Items items = iterate(value, budget), keys = keyed(items, path, budget);
  Items seen, out;
  for (size_t i = 0; i < items.size(); ++i) {
    const Value key = folded(keys[i], sensitive);
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& other) { return equal(other, key, budget); }))
      continue;
    seen.push_back(key);
    out.push_back(items[i]);
  }
  return Value::list(std::move(out), ListKind::kIterator);
}

template <int wanted>
Value extreme(const Value& value, Arguments& arguments, Budget& budget) {
  const bool sensitive = arguments.boolean(0, "case_sensitive", false);
  const Value* path = arguments.take(1, "attribute");
  arguments.finish();
  const Items items = iterate(value, budget), keys = keyed(items, path, budget);
  if (items.empty()) return Value(Undefined{"an extreme of an empty list"});
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    if (order(keys[i], keys[best], budget, !sensitive) == wanted) best = i;
  }
  return items[best];
}

Value sum(const Value& value, Arguments& arguments, Budget& budget) {
  const Value* path = arguments.take(0, "attribute");
  const Value* start = arguments.take(1, "start");
  arguments.finish();
  Value total = start ? *start : Value(int64_t{0});
  if (total.text()) throw Fault("a sum of strings; use |join");
  for (const Value& item : keyed(iterate(value, budget), path, budget))
    total = arithmetic("+", total, item, budget);
  return total;
}

/// The arguments after the first `count`, for the test or filter that the last of those names.
Arguments after(Arguments& arguments, size_t count) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() +
                             static_cast<std::ptrdiff_t>(std::min(count, arguments.positional.size())),
                         arguments.positional.end());
  rest.named = arguments.named;
  return rest;
}

Value map(const Value& value, Arguments& arguments, Budget& budget) {
  if (!truth(value)) return Value::list({}, ListKind::kIterator);  // none too, as in jinja2
  Items out;
  if (arguments.positional.empty()) {
    const Value& path = arguments.need(0, "attribute");
    const Value* other = arguments.take(1, "default");
    arguments.finish();
    for (const Value& item : iterate(value, budget)) {
      Value part = attribute_path(item, path, budget);
      out.push_back(other && part.is_undefined() ? *other : std::move(part));
    }
  } else {
    const std::string name = need_text(arguments.positional[0], "the name of the filter");
    if (name == "map") throw Fault("a map of a map is not supported");
    for (const Value& item : iterate(value, budget)) {
      Arguments rest = after(arguments, 1);
      out.push_back(run_filter(name, item, rest, budget));
    }
  }
  return Value::list(std::move(out), ListKind::kIterator);
}

/// select and reject; with `by_attribute` selectattr and rejectattr.
template <bool wanted, bool by_attribute>
Value choose(const Value& value, Arguments& arguments, Budget& budget) {
  if (!truth(value)) return Value::list({}, ListKind::kIterator);  // none too, as in jinja2
  const size_t before = by_attribute ? 1 : 0;
  if (by_attribute) arguments.need(0);
  const bool has_test = arguments.positional.size() > before;
  const std::string test = has_test ? need_text(arguments.positional[before], "the name of the test") : "";
  Items out;
  for (const Value& item : iterate(value, budget)) {
    const Value key = by_attribute ? attribute_path(item, arguments.positional[0], budget) : item;
    Arguments rest = after(arguments, before + 1);
    if ((has_test ? run_value_test(test, key, rest, budget) : truth(key)) == wanted) out.push_back(item);
  }
  return Value::list(std::move(out), ListKind::kIterator);
}

Value batch(const Value& value, Arguments& arguments, Budget& budget) {
  const int64_t size = need_integer(arguments.need(0, "linecount"), "linecount");
  const Value* fill = arguments.take(1, "fill_with");
  arguments.finish();
  if (size < 1 || size > kMostRange) throw Fault(fmt::format("linecount must be from 1 to {}", kMostRange));
  Items rows, row;
  for (const Value& item : iterate(value, budget)) {
    if (static_cast<int64_t>(row.size()) == size) rows.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (fill && !fill->is_none() && !row.empty()) row.resize(static_cast<size_t>(size), *fill);
  if (!row.empty()) rows.push_back(Value::list(std::move(row)));
  return Value::list(std::move(rows), ListKind::kIterator);
}

constexpr std::array<Filter, 22> kSequenceFilters = {{{"batch", batch},
                                                      {"count", length_filter},
                                                      {"d", fallback},
                                                      {"default", fallback},
                                                      {"dictsort", dictsort},
                                                      {"first", first},
                                                      {"items", items_filter},
                                                      {"join", join},
                                                      {"last", last},
                                                      {"length", length_filter},
                                                      {"list", to_list},
                                                      {"map", map},
                                                      {"max", extreme<1>},
                                                      {"min", extreme<-1>},
                                                      {"reject", choose<false, false>},
                                                      {"rejectattr", choose<false, true>},
                                                      {"reverse", reverse},
                                                      {"select", choose<true, false>},
                                                      {"selectattr", choose<true, true>},
                                                      {"sort", sort},
                                                      {"sum", sum},
                                                      {"unique", unique}}};

}  // namespace

std::span<const Filter> sequence_filters() {
  return kSequenceFilters;
}

}  // namespace natrix::chat
