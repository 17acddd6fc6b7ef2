#include "core/chat/operators.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "core/chat/methods.h"
#include "core/chat/python_format.h"
#include "core/chat/unicode.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

[[noreturn]] void fail_types(std::string_view op, const Value& a, const Value& b) {
  require_defined(a);
  require_defined(b);
  throw Fault(fmt::format("{} {} {} is not possible", type_name(a), op, type_name(b)));
}

/// By reference: the call that fills the result is an argument too, and may be evaluated after this one.
int64_t checked(bool overflowed, const int64_t& result) {
  if (overflowed) throw Fault("an integer beyond 64 bits");
  return result;
}

int64_t floor_quotient(int64_t a, int64_t b) {
  if (a == INT64_MIN && b == -1) throw Fault("an integer beyond 64 bits");
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t result = 1;
  if (base == 0 || base == 1 || base == -1)
    return Value(exponent == 0 || base == 1 || exponent % 2 == 0
                     ? (base == 0 && exponent > 0 ? int64_t{0} : int64_t{1})
                     : base);
  for (; exponent > 0; --exponent) result = checked(__builtin_mul_overflow(result, base, &result), result);
  return Value(result);
}

Value integer_arithmetic(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+") return Value(checked(__builtin_add_overflow(a, b, &result), result));
  if (op == "-") return Value(checked(__builtin_sub_overflow(a, b, &result), result));
  if (op == "*") return Value(checked(__builtin_mul_overflow(a, b, &result), result));
  if (op == "**") return integer_power(a, b);
  if (b == 0) throw Fault("division by zero");
  if (op == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
  const int64_t quotient = floor_quotient(a, b);
  return Value(op == "//" ? quotient : a - quotient * b);
}

Value float_arithmetic(std::string_view op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**") return Value(std::pow(a, b));
  if (b == 0) throw Fault("division by zero");
  if (op == "/") return Value(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return Value(rest == 0 ? std::copysign(0.0, b) : rest);
  return Value(std::floor((a - rest) / b + 0.5));  // Python rounds the exact quotient of a - rest
}

Value repeated(const Value& value, int64_t count, Budget& budget) {
  const size_t times = count < 0 ? 0 : static_cast<size_t>(count);
  const size_t one = value.text() ? value.text()->bytes.size() : value.list()->items.size() * sizeof(Value);
  if (one > 0 && times > kMostTextBytes / one) throw Fault(fmt::format("a value repeated {} times", count));
  budget.bytes(one * times);
  if (one == 0) return value;
  if (const Text* text = value.text()) {
    std::string out;
    for (size_t i = 0; i < times; ++i) out += text->bytes;
    return Value::text(std::move(out), text->markup);
  }
  Items items;
  for (size_t i = 0; i < times; ++i)
    items.insert(items.end(), value.list()->items.begin(), value.list()->items.end());
  return Value::list(std::move(items), value.list()->kind);
}

bool is_sequence(const Value& value) {
  return value.text() ||
         (value.list() && (value.list()->kind == ListKind::kList || value.list()->kind == ListKind::kTuple));
}

/// What Python's slice.indices() gives.
struct SliceRange {
  int64_t start, step, count;
};

SliceRange slice_range(const Value& start, const Value& stop, const Value& step, int64_t size) {
  const int64_t by = step.is_none() ? 1 : need_integer(step, "the step of a slice");
  if (by == 0) throw Fault("the step of a slice is 0");
  const int64_t least = by < 0 ? -1 : 0, most = by < 0 ? size - 1 : size;
  const auto place = [&](const Value& given, int64_t fallback) {
    if (given.is_none()) return fallback;
    const int64_t at = need_integer(given, "a bound of a slice");
    return at < 0 ? std::max(at + size, least) : std::min(at, most);
  };
  const int64_t from = place(start, by < 0 ? most : least), to = place(stop, by < 0 ? least : most);
  if (by < 0 ? from <= to : from >= to) return {from, by, 0};
  const int64_t distance = std::abs(to - from) - 1;
  return {from, by, 1 + (by == INT64_MIN ? 0 : distance / std::abs(by))};
}

/// A key or item; null if there is none.
const Value* stored(const Value& value, const Value& key, Budget& budget) {
  if (const Dict* dict = value.dict()) {
    const bool hashable = !key.dict() && !(key.list() && key.list()->kind == ListKind::kList);
    return hashable ? find(*dict, key, budget) : nullptr;
  }
  const List* list = value.list();
  if (!list || list->kind == ListKind::kIterator || list->kind == ListKind::kView) return nullptr;
  if (!key.is_int() && !key.is_bool()) return nullptr;
  const auto size = static_cast<int64_t>(list->items.size());
  const int64_t at = key.as_int() < 0 ? key.as_int() + size : key.as_int();
  return at >= 0 && at < size ? &list->items[static_cast<size_t>(at)] : nullptr;
}

const Value* member(const Value& value, std::string_view name) {
  if (const Dict* dict = value.dict()) return find(*dict, name);
  if (const Namespace* space = value.space()) {
    for (const auto& [key, held] : space->members) {
      if (key == name) return &held;
    }
  }
  return nullptr;
}

Value no_attribute(const Value& value, const std::string& name) {
  return Value(Undefined{fmt::format("attribute {} of {}", excerpt(name), type_name(value))});
}

}  // namespace

Value concatenated(const Text& a, const Text& b, Budget& budget) {
  budget.bytes(a.bytes.size() + b.bytes.size());
  if (a.markup == b.markup) return Value::text(a.bytes + b.bytes, a.markup);
  return Value::text(
      (a.markup ? a.bytes : escape_html(a.bytes)) + (b.markup ? b.bytes : escape_html(b.bytes)), true);
}

Value arithmetic(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (op == "%" && a.text()) return percent_format(*a.text(), b, budget);
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? float_arithmetic(op, a.as_float(), b.as_float())
                                        : integer_arithmetic(op, a.as_int(), b.as_int());
  }
  if (op == "+" && a.text() && b.text()) return concatenated(*a.text(), *b.text(), budget);
  if (op == "+" && a.list() && b.list() && is_sequence(a) && a.list()->kind == b.list()->kind) {
    budget.bytes((a.list()->items.size() + b.list()->items.size()) * sizeof(Value));
    Items items = a.list()->items;
    items.insert(items.end(), b.list()->items.begin(), b.list()->items.end());
    return Value::list(std::move(items), a.list()->kind);
  }
  if (op == "*" && is_sequence(a) && (b.is_int() || b.is_bool())) return repeated(a, b.as_int(), budget);
  if (op == "*" && is_sequence(b) && (a.is_int() || a.is_bool())) return repeated(b, a.as_int(), budget);
  fail_types(op, a, b);
}

Value unary(std::string_view op, const Value& value) {
  if (op == "not") return Value(!truth(value));
  require_defined(value);
  if (!value.is_number()) throw Fault(fmt::format("{}x where x is {}", op, type_name(value)));
  if (value.is_float()) return Value(op == "-" ? -value.as_float() : value.as_float());
  if (op == "-" && value.as_int() == INT64_MIN) throw Fault("an integer beyond 64 bits");
  return Value(op == "-" ? -value.as_int() : value.as_int());
}

bool compare(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (op == "in") return contains(b, a, budget);
  if (op == "not in") return !contains(b, a, budget);
  if (op == "==") return equal(a, b, budget);
  if (op == "!=") return !equal(a, b, budget);
  const auto is_nan = [](const Value& v) { return v.is_float() && std::isnan(v.as_float()); };
  const int sign = order(a, b, budget);
  if (is_nan(a) || is_nan(b)) return false;
  if (op == "<") return sign < 0;
  if (op == "<=") return sign <= 0;
  return op == ">" ? sign > 0 : sign >= 0;
}

Value attribute(const Value& value, const std::string& name, Budget&) {
  if (value.is_undefined()) {
    throw Fault(
        fmt::format("{} is undefined, so it has no attribute {}", value.undefined()->name, excerpt(name)));
  }
  if (has_method(value, name)) {
    return Value(
        std::make_shared<const Function>(Function{Callable::kMethod, name, value, nullptr, nullptr}));
  }
  if (const Value* found = member(value, name)) return *found;
  return no_attribute(value, name);
}

Value subscript(const Value& value, const Value& key, Budget& budget) {
  if (value.is_undefined())
    throw Fault(fmt::format("{} is undefined, so it has no items", value.undefined()->name));
  if (const Value* found = stored(value, key, budget)) return *found;
  if (value.text() && (key.is_int() || key.is_bool())) {
    const auto points = code_points(value.text()->bytes);
    budget.step(static_cast<int64_t>(points.size() / 16));
    const auto size = static_cast<int64_t>(points.size());
    const int64_t at = key.as_int() < 0 ? key.as_int() + size : key.as_int();
    if (at >= 0 && at < size)
      return Value::text(std::string(points[static_cast<size_t>(at)]), value.text()->markup);
  }
  if (key.text() && !value.dict()) return attribute(value, key.text()->bytes, budget);
  if (key.text() && has_method(value, key.text()->bytes)) return attribute(value, key.text()->bytes, budget);
  return no_attribute(value, key.text()        ? key.text()->bytes
                             : key.is_number() ? std::to_string(key.as_int())
                                               : type_name(key));
}

Value slice(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  require_defined(value);
  if (const Text* text = value.text()) {
    const auto points = code_points(text->bytes);
    const SliceRange range = slice_range(start, stop, step, static_cast<int64_t>(points.size()));
    budget.bytes(text->bytes.size());
    std::string out;
    for (int64_t i = 0; i < range.count; ++i)
      out += points[static_cast<size_t>(range.start + i * range.step)];
    return Value::text(std::move(out), text->markup);
  }
  const List* list = value.list();
  if (!list || list->kind == ListKind::kIterator || list->kind == ListKind::kView) {
    throw Fault(fmt::format("a slice of {}", type_name(value)));
  }
  const SliceRange range = slice_range(start, stop, step, static_cast<int64_t>(list->items.size()));
  budget.bytes(static_cast<size_t>(range.count) * sizeof(Value));
  Items items;
  for (int64_t i = 0; i < range.count; ++i)
    items.push_back(list->items[static_cast<size_t>(range.start + i * range.step)]);
  return Value::list(std::move(items), list->kind);
}

Value attribute_path(const Value& value, const Value& path, Budget& budget) {
  if (path.is_int()) return subscript(value, path, budget);
  Value at = value;
  std::string_view rest = need_text(path, "attribute");
  for (bool more = true; more;) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    at = subscript(at, number ? Value(int64_t{std::stol(part)}) : Value::text(part), budget);
    more = dot != std::string_view::npos;
    if (more) rest.remove_prefix(dot + 1);
  }
  return at;
}

}  // namespace natrix::chat
