#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "core/chat/filters.h"
#include "core/chat/printing.h"
#include "core/chat/python_format.h"
#include "core/chat/string_methods.h"
#include "core/chat/unicode.h"

namespace natrix::chat {
namespace {

bool is_markup(const Value& value) {
  return value.text() && value.text()->markup;
}

/// A filter that maps a text to a text, without arguments.
template <std::string (*change)(std::string_view)>
Value changed(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  const std::string text = to_text(value, budget);
  budget.bytes(text.size());
  return Value::text(change(text), is_markup(value));
}

/// Each word starts with a capital; a word starts after a space, a hyphen or a bracket.
std::string title_words(std::string_view text) {
  std::string out;
  bool start = true;
  for (const std::string_view point : code_points(text)) {
    out += start ? upper(point) : lower(point);
    start = is_space(point) || point == "-" || point == "(" || point == "{" || point == "[" || point == "<";
  }
  return out;
}

Value trim(const Value& value, Arguments& arguments, Budget& budget) {
  const Value* characters = arguments.take(0, "chars");
  arguments.finish();
  const std::string* given =
      characters && !characters->is_none() ? &need_text(*characters, "chars") : nullptr;
  return Value::text(stripped(to_text(value, budget), given, true, true), is_markup(value));
}

Value to_string(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  return value.text() ? value : Value::text(to_text(value, budget));
}

Value safe(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  return Value::text(to_text(value, budget), true);
}

Value escape(const Value& value, Arguments& arguments, Budget& budget) {
  arguments.finish();
  if (is_markup(value)) return value;
  const std::string text = to_text(value, budget);
  budget.bytes(text.size() * 5);  // at most
  return Value::text(escape_html(text), true);
}

Value replace(const Value& value, Arguments& arguments, Budget& budget) {
  const std::string from = to_text(arguments.need(0, "old"), budget),
                    to = to_text(arguments.need(1, "new"), budget);
  const Value* count = arguments.take(2, "count");
  arguments.finish();
  Arguments given;
  given.positional = {Value::text(from), Value::text(to)};
  if (count && !count->is_none()) given.positional.push_back(*count);
  return call_string_method({to_text(value, budget), is_markup(value)}, "replace", given, budget);
}

Value indent(const Value& value, Arguments& arguments, Budget& budget) {
  const Value* width = arguments.take(0, "width");
  const bool first = arguments.boolean(1, "first", false), blank = arguments.boolean(2, "blank", false);
  arguments.finish();
  std::string margin = "    ";
  if (width && width->text()) {
    margin = width->text()->bytes;
  } else if (width) {
    const int64_t spaces = need_integer(*width, "width");
    if (spaces > kMostWidth) throw Fault(fmt::format("a width above {}", kMostWidth));
    margin = std::string(spaces < 0 ? 0 : static_cast<size_t>(spaces), ' ');
  }
  const std::vector<std::string> lines = split_lines(need_text(value, "the value") + "\n");
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    budget.bytes(lines[i].size() + margin.size() + 1);
    if (i == 0 ? first : blank || !lines[i].empty()) out += margin;
    out += lines[i];
    if (out.size() > kMostTextBytes) throw Fault("a text that is too long");
  }
  return Value::text(std::move(out), is_markup(value));
}

Value format(const Value& value, Arguments& arguments, Budget& budget) {
  if (!arguments.positional.empty() && !arguments.named.empty())
    throw Fault("arguments with and without names");
  const Text text{to_text(value, budget), is_markup(value)};
  if (arguments.named.empty()) {
    return percent_format(text, Value::list(arguments.positional, ListKind::kTuple), budget);
  }
  Entries entries;
  for (const auto& [name, argument] : arguments.named) entries.emplace_back(Value::text(name), argument);
  return percent_format(text, Value::dict(std::move(entries)), budget);
}

/// int(text) and float(text) of Python; nothing if it is not a number.
template <class Number>
std::optional<Number> number_of(std::string_view text, auto... base) {
  text = strip_right(strip_left(text));
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  const std::string digits = replace_all(text, "_", "");
  Number number{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base...);
  if (error != std::errc() || end != digits.data() + digits.size()) return {};
  return number;
}

Value to_int(const Value& value, Arguments& arguments, Budget&) {
  const Value* fallback = arguments.take(0, "default");
  const int64_t base = arguments.integer(1, "base", 10);
  arguments.finish();
  if (base < 2 || base > 36) throw Fault("base must be from 2 to 36");
  const Value other = fallback ? *fallback : Value(int64_t{0});
  double real = 0;
  if (const Text* text = value.text()) {
    if (const auto whole = number_of<int64_t>(text->bytes, static_cast<int>(base))) return Value(*whole);
    const auto number = number_of<double>(text->bytes);
    if (!number) return other;
    real = *number;
  } else if (value.is_float()) {
    real = value.as_float();
  } else {
    require_defined(value);
    return value.is_number() ? Value(value.as_int()) : other;
  }
  if (!std::isfinite(real)) return other;
  if (std::abs(real) >= 9.2e18) throw Fault("an integer beyond 64 bits");
  return Value(static_cast<int64_t>(real));
}

Value to_float(const Value& value, Arguments& arguments, Budget&) {
  const Value* fallback = arguments.take(0, "default");
  arguments.finish();
  const Value other = fallback ? *fallback : Value(0.0);
  require_defined(value);
  if (value.is_number()) return Value(value.as_float());
  if (!value.text()) return other;
  const auto number = number_of<double>(value.text()->bytes);
  return number ? Value(*number) : other;
}

Value absolute(const Value& value, Arguments& arguments, Budget&) {
  arguments.finish();
  require_defined(value);
  if (!value.is_number()) throw Fault(fmt::format("the value is {}", type_name(value)));
  if (value.is_float()) return Value(std::abs(value.as_float()));
  if (value.as_int() == INT64_MIN) throw Fault("an integer beyond 64 bits");
  return Value(std::abs(value.as_int()));
}

Value round(const Value& value, Arguments& arguments, Budget&) {
  const int64_t precision = arguments.integer(0, "precision", 0);
  const std::string method = arguments.text(1, "method", "common");
  arguments.finish();
  require_defined(value);
  if (!value.is_number()) throw Fault(fmt::format("the value is {}", type_name(value)));
  if (precision < -18 || precision > 18) throw Fault("precision must be from -18 to 18");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(value.as_float() * scale) / scale);
  if (method == "floor") return Value(std::floor(value.as_float() * scale) / scale);
  if (method != "common") throw Fault("method must be common, ceil or floor");
  if (value.is_int() && precision >= 0) return value;
  if (precision < 0) return Value(std::nearbyint(value.as_float() * scale) / scale);
  return Value(std::stod(fmt::format("{:.{}f}", value.as_float(), precision)));
}

Value json(const Value& value, Arguments& arguments, Budget& budget) {
  JsonStyle style;
  style.ascii = arguments.boolean(0, "ensure_ascii", false);
  const Value* indent = arguments.take(1, "indent");
  const Value* separators = arguments.take(2, "separators");
  style.sort_keys = arguments.boolean(3, "sort_keys", false);
  arguments.finish();
  if (indent && indent->text()) {
    style.indent = indent->text()->bytes;
  } else if (indent && !indent->is_none()) {
    const int64_t spaces = std::max<int64_t>(0, need_integer(*indent, "indent"));
    if (spaces > kMostWidth) throw Fault(fmt::format("an indent above {}", kMostWidth));
    style.indent = std::string(static_cast<size_t>(spaces), ' ');
  }
  if (style.indent) style.comma = ",";
  if (separators && !separators->is_none()) {
    const Items two = iterate(*separators, budget);
    if (two.size() != 2) throw Fault("separators must be two strings");
    style.comma = need_text(two[0], "separators");
    style.colon = need_text(two[1], "separators");
  }
  return Value::text(to_json(value, style, budget));
}

constexpr std::array<Filter, 17> kTextFilters = {{{"abs", absolute},
                                                  {"capitalize", changed<capitalized>},
                                                  {"e", escape},
                                                  {"escape", escape},
                                                  {"float", to_float},
                                                  {"format", format},
                                                  {"indent", indent},
                                                  {"int", to_int},
                                                  {"lower", changed<lower>},
                                                  {"replace", replace},
                                                  {"round", round},
                                                  {"safe", safe},
                                                  {"string", to_string},
                                                  {"title", changed<title_words>},
                                                  {"tojson", json},
                                                  {"trim", trim},
                                                  {"upper", changed<upper>}}};

}  // namespace

std::span<const Filter> text_filters() {
  return kTextFilters;
}

}  // namespace natrix::chat
