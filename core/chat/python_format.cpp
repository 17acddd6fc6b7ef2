#include "core/chat/python_format.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fmt/format.h>

#include "core/chat/printing.h"
#include "core/chat/unicode.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

/// One place of a format: how the value is to look.
struct Place {
  std::string fill = " ";
  char align = 0;  // < > ^ =, or 0: by the type
  char sign = '-';
  bool alternate = false, comma = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  bool done() const { return text_.empty(); }
  char peek() const { return text_.empty() ? '\0' : text_[0]; }
  char take() {
    if (text_.empty()) throw Fault("a format ends too early");
    const char c = text_[0];
    text_.remove_prefix(1);
    return c;
  }
  bool take_if(char c) { return peek() == c && !done() && (take(), true); }
  std::string_view take_until(char end) {
    const size_t at = text_.find(end);
    if (at == std::string_view::npos)
      throw Fault(fmt::format("a format lacks {}", excerpt(std::string(1, end))));
    const std::string_view out = text_.substr(0, at);
    text_.remove_prefix(at + 1);
    return out;
  }
  std::string_view take_point() {
    const std::string_view out = text_.substr(0, point_bytes(text_));
    text_.remove_prefix(out.size());
    return out;
  }
  std::string_view rest() const { return text_; }
  int64_t number() {
    int64_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (take() - '0');
      if (value > kMostWidth) throw Fault(fmt::format("a width or precision above {}", kMostWidth));
    }
    return value;
  }

 private:
  std::string_view text_;
};

std::string padded(const std::string& text, const Place& place, char align) {
  const int64_t gap = place.width - count_code_points(text);
  if (gap <= 0) return text;
  const int64_t left = align == '<' ? 0 : align == '^' ? gap / 2 : gap;
  std::string before, after;
  for (int64_t i = 0; i < gap; ++i) (i < left ? before : after) += place.fill;
  if (align == '=') {  // between the sign and the digits
    const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
    return text.substr(0, sign) + before + text.substr(sign);
  }
  return before + text + after;
}

std::string with_commas(const std::string& digits) {
  const size_t end = std::min(digits.find('.'), digits.size());
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && i < end && (end - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string number_text(const Value& value, const Place& place) {
  const bool real =
      value.is_float() || std::string_view("eEfFgG%").find(place.type) != std::string_view::npos;
  std::string digits;
  bool negative;
  if (real && place.type != 0) {
    const double x = place.type == '%' ? value.as_float() * 100 : value.as_float();
    negative = std::signbit(x);
    const std::string c_format =
        fmt::format("%{}.*{}", place.alternate ? "#" : "", place.type == '%' ? 'f' : place.type);
    std::array<char, 512 + kMostWidth> buffer;
    const int precision = static_cast<int>(place.precision < 0 ? 6 : place.precision);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    std::snprintf(buffer.data(), buffer.size(), c_format.c_str(), precision, std::abs(x));
#pragma GCC diagnostic pop
    digits = buffer.data();
    if (place.type == '%') digits += '%';
  } else if (real) {
    negative = std::signbit(value.as_float());
    digits = float_text(std::abs(value.as_float()));
  } else {
    negative = value.as_int() < 0;
    const uint64_t size =
        negative ? 0 - static_cast<uint64_t>(value.as_int()) : static_cast<uint64_t>(value.as_int());
    const std::string prefix = place.alternate && place.type != 'd' ? fmt::format("0{}", place.type) : "";
    switch (place.type) {
      case 'x': digits = prefix + fmt::format("{:x}", size); break;
      case 'X': digits = prefix + fmt::format("{:X}", size); break;
      case 'o': digits = prefix + fmt::format("{:o}", size); break;
      case 'b': digits = prefix + fmt::format("{:b}", size); break;
      default: digits = std::to_string(size);
    }
  }
  if (place.comma) digits = with_commas(digits);
  return negative ? "-" + digits : place.sign == '-' ? digits : place.sign + digits;
}

std::string first_points(const std::string& text, int64_t count) {
  std::string out;
  for (const std::string_view point : code_points(text)) {
    if (count-- <= 0) break;
    out += point;
  }
  return out;
}

Place percent_place(Reader& reader) {
  Place place;
  bool zero = false;
  for (;;) {
    if (reader.take_if('-')) {
      place.align = '<';
    } else if (reader.take_if('0')) {
      zero = true;
    } else if (reader.take_if('+')) {
      place.sign = '+';
    } else if (reader.take_if(' ')) {
      if (place.sign == '-') place.sign = ' ';
    } else if (reader.take_if('#')) {
      place.alternate = true;
    } else {
      break;
    }
  }
  place.width = reader.number();
  if (reader.take_if('.')) place.precision = reader.number();
  place.type = reader.take();
  if (zero && place.align == 0 && place.type != 's' && place.type != 'r') {
    place.fill = "0";
    place.align = '=';
  }
  return place;
}

std::string percent_value(Place place, const Value& value, Budget& budget) {
  const char align = place.align == 0 ? '>' : place.align;
  if (place.type == 's' || place.type == 'r') {
    const std::string text = place.type == 's' ? to_text(value, budget) : repr(value, budget);
    return padded(place.precision < 0 ? text : first_points(text, place.precision), place, align);
  }
  if (std::string_view("dixXofFeEgG").find(place.type) == std::string_view::npos) {
    throw Fault(fmt::format("%{} in a format is not supported", place.type));
  }
  require_defined(value);
  const bool integer = std::string_view("dixXo").find(place.type) != std::string_view::npos;
  if (!value.is_number()) throw Fault(fmt::format("%{} of {}", place.type, type_name(value)));
  if (!integer) return padded(number_text(value, place), place, align);
  if (value.is_float() && (place.type != 'd' && place.type != 'i'))
    throw Fault(fmt::format("%{} of a float", place.type));
  if (value.is_float() && !(std::abs(value.as_float()) < 9e18)) throw Fault("an integer beyond 64 bits");
  if (place.precision >= 0)
    throw Fault(fmt::format("%.{}{} in a format is not supported", place.precision, place.type));
  if (place.type == 'i') place.type = 'd';
  const Value whole =
      value.is_float() ? Value(static_cast<int64_t>(value.as_float())) : Value(value.as_int());
  return padded(number_text(whole, place), place, align);
}

Place brace_place(std::string_view spec) {
  Place place;
  Reader reader(spec);
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (!spec.empty()) {
    const size_t first = point_bytes(spec);
    if (first < spec.size() && is_align(spec[first])) place.fill = std::string(reader.take_point());
    if (is_align(reader.peek())) place.align = reader.take();
  }
  if (reader.peek() == '+' || reader.peek() == '-' || reader.peek() == ' ') place.sign = reader.take();
  place.alternate = reader.take_if('#');
  if (reader.peek() == '0' && place.align == 0) {
    place.fill = "0";
    place.align = '=';
  }
  place.width = reader.number();
  place.comma = reader.take_if(',');
  if (reader.take_if('.')) place.precision = reader.number();
  if (!reader.done()) place.type = reader.take();
  if (!reader.done()) throw Fault(fmt::format("format {} is not supported", excerpt(spec)));
  return place;
}

std::string brace_value(const Value& value, std::string_view spec, Budget& budget) {
  if (spec.empty()) return to_text(value, budget);
  const Place place = brace_place(spec);
  require_defined(value);
  if (value.text() && (place.type == 0 || place.type == 's') && place.align != '=') {
    const std::string& text = value.text()->bytes;
    return padded(place.precision < 0 ? text : first_points(text, place.precision), place,
                  place.align == 0 ? '<' : place.align);
  }
  const bool integer =
      place.type == 0 || std::string_view("dxXob").find(place.type) != std::string_view::npos;
  const bool real = std::string_view("feEgFG%").find(place.type) != std::string_view::npos;
  const bool plain_float = value.is_float() && place.type == 0 && place.precision < 0;
  if (!(value.is_float() ? (real && place.type != 0) || plain_float : value.is_int() && (integer || real))) {
    throw Fault(fmt::format("format {} of {} is not supported", excerpt(spec), type_name(value)));
  }
  if (integer && place.precision >= 0) throw Fault("an integer has no precision");
  return padded(number_text(value, place), place, place.align == 0 ? '>' : place.align);
}

/// Which argument a field names; counts those without a name.
const Value& field_value(std::string_view name, const Arguments& arguments, size_t& next) {
  if (name.find_first_of(".[") != std::string_view::npos) {
    throw Fault(fmt::format("{{{}}} in a format is not supported; pass the part itself", name));
  }
  const bool number = name.find_first_not_of("0123456789") == std::string_view::npos && name.size() < 6;
  if (number) {
    const size_t at = name.empty() ? next++ : static_cast<size_t>(std::stoul(std::string(name)));
    if (at >= arguments.positional.size())
      throw Fault(fmt::format("a format uses argument {} of {}", at + 1, arguments.positional.size()));
    return arguments.positional[at];
  }
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return value;
  }
  throw Fault(fmt::format("a format uses argument {}, which is not given", excerpt(name)));
}

}  // namespace

Value percent_format(const Text& format, const Value& values, Budget& budget) {
  const List* list = values.list() && values.list()->kind == ListKind::kTuple ? values.list() : nullptr;
  size_t used = 0;
  bool by_name = false;
  Reader reader(format.bytes);
  std::string out;
  while (!reader.done()) {
    budget.step();
    if (!reader.take_if('%')) {
      out += reader.take();
      continue;
    }
    if (reader.take_if('%')) {
      out += '%';
      continue;
    }
    const Value* value = nullptr;
    if (reader.take_if('(')) {
      const std::string_view key = reader.take_until(')');
      value = values.dict() ? find(*values.dict(), key) : nullptr;
      if (!value) throw Fault(fmt::format("a format uses {}, which is not given", excerpt(key)));
      by_name = true;
    }
    const Place place = percent_place(reader);
    if (!value) {
      if (used >= (list ? list->items.size() : 1)) throw Fault("a format with more places than values");
      value = list ? &list->items[used] : &values;
      ++used;
    }
    std::string text = percent_value(place, *value, budget);
    if (format.markup && !(value->text() && value->text()->markup)) text = escape_html(text);
    budget.bytes(text.size());
    out += text;
  }
  const bool all = list ? used == list->items.size() : used == 1 || by_name || values.dict() || values.list();
  if (!all) throw Fault("a format with fewer places than values");
  return Value::text(std::move(out), format.markup);
}

Value brace_format(const Text& format, const Arguments& arguments, Budget& budget) {
  Reader reader(format.bytes);
  std::string out;
  size_t next = 0;
  while (!reader.done()) {
    budget.step();
    const char c = reader.take();
    if (c == '}' && !reader.take_if('}')) throw Fault("a single } in a format; write }}");
    if (c != '{' || reader.take_if('{')) {
      out += c;
      continue;
    }
    const std::string_view field = reader.take_until('}');
    const size_t colon = field.find(':');
    std::string_view name = field.substr(0, colon);
    const std::string_view spec = colon == std::string_view::npos ? "" : field.substr(colon + 1);
    if (spec.find('{') != std::string_view::npos) throw Fault("a format inside of a format is not supported");
    char conversion = 0;
    if (const size_t mark = name.find('!'); mark != std::string_view::npos) {
      conversion = name.size() == mark + 2 ? name[mark + 1] : '?';
      if (conversion != 's' && conversion != 'r')
        throw Fault(fmt::format("{{{}}} in a format is not supported", field));
      name = name.substr(0, mark);
    }
    const Value& value = field_value(name, arguments, next);
    Value shown = value;
    if (conversion != 0)
      shown = Value::text(conversion == 's' ? to_text(value, budget) : repr(value, budget));
    std::string text = brace_value(shown, spec, budget);
    if (format.markup && !(value.text() && value.text()->markup)) text = escape_html(text);
    budget.bytes(text.size());
    out += text;
  }
  return Value::text(std::move(out), format.markup);
}

}  // namespace natrix::chat
