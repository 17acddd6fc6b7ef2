#include "core/chat/printing.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "core/chat/unicode.h"

namespace natrix::chat {
namespace {

// Whether repr() of a string shows the code point as an escape: controls, spaces other than " ", and the like.
bool is_hidden(std::string_view point) {
  const uint32_t c = decode_point(point);
  return c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || (is_space(point) && c != ' ') ||
         (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
         (c >= 0xe000 && c <= 0xf8ff) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) || c >= 0xe0000;
}

std::string quoted(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos,
             has_double = text.find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (const std::string_view point : code_points(text)) {
    const uint32_t c = decode_point(point);
    if (c == '\\' || c == static_cast<uint32_t>(quote)) {
      out += '\\';
      out += point;
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_hidden(point)) {
      out += c < 0x100     ? fmt::format("\\x{:02x}", c)
             : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                           : fmt::format("\\U{:08x}", c);
    } else {
      out += point;
    }
  }
  return out + quote;
}

std::string json_string(const std::string& text, bool ascii) {
  std::string out = "\"";
  for (const std::string_view point : code_points(text)) {
    const uint32_t c = decode_point(point);
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (c >= 0x20 && (!ascii || c < 0x7f)) {
          out += point;
        } else if (c < 0x10000) {
          out += fmt::format("\\u{:04x}", c);
        } else {
          out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((c - 0x10000) >> 10),
                             0xdc00 + ((c - 0x10000) & 0x3ff));
        }
    }
  }
  return out + '"';
}

/// The text of what is being written, within the budget.
class Writer {
 public:
  explicit Writer(Budget& budget) : budget_(budget) {}

  void add(std::string_view text) {
    budget_.bytes(text.size() + 1);
    if (out_.size() + text.size() > kMostTextBytes) {
      throw Fault(fmt::format("a text of more than {} bytes", kMostTextBytes));
    }
    out_ += text;
  }
  std::string take() { return std::move(out_); }

 protected:
  Budget& budget_;

 private:
  std::string out_;
};

class ReprWriter : public Writer {
 public:
  using Writer::Writer;

  void write(const Value& value) {
    if (value.is_undefined()) return add("Undefined");
    if (value.is_none()) return add("None");
    if (value.is_bool()) return add(value.as_bool() ? "True" : "False");
    if (value.is_int()) return add(std::to_string(value.as_int()));
    if (value.is_float()) return add(float_text(value.as_float()));
    if (value.text())
      return add(value.text()->markup ? "Markup(" + quoted(value.text()->bytes) + ")"
                                      : quoted(value.text()->bytes));
    if (value.dict()) return write_dict(*value.dict());
    if (!value.list()) throw Fault(fmt::format("{} cannot be printed", type_name(value)));
    write_list(value, *value.list());
  }

 private:
  void write_list(const Value& value, const List& list) {
    if (list.kind != ListKind::kList && list.kind != ListKind::kTuple) {
      throw Fault(fmt::format("{} cannot be printed; put |list after it", type_name(value)));
    }
    const bool tuple = list.kind == ListKind::kTuple;
    add(tuple ? "(" : "[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) add(", ");
      write(list.items[i]);
    }
    add(!tuple ? "]" : list.items.size() == 1 ? ",)" : ")");
  }

  void write_dict(const Dict& dict) {
    add("{");
    for (size_t i = 0; i < dict.entries.size(); ++i) {
      if (i > 0) add(", ");
      write(dict.entries[i].first);
      add(": ");
      write(dict.entries[i].second);
    }
    add("}");
  }
};

class JsonWriter : public Writer {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : Writer(budget), style_(style) {}

  void write(const Value& value, int level = 0) {
    if (value.is_none()) return add("null");
    if (value.is_bool()) return add(value.as_bool() ? "true" : "false");
    if (value.is_int()) return add(std::to_string(value.as_int()));
    if (value.is_float()) return add(json_float(value.as_float()));
    if (value.text()) return add(json_string(value.text()->bytes, style_.ascii));
    if (value.dict()) return write_dict(*value.dict(), level);
    const List* list = value.list();
    if (!list || (list->kind != ListKind::kList && list->kind != ListKind::kTuple)) {
      require_defined(value);
      throw Fault(fmt::format("|tojson of {}", type_name(value)));
    }
    add("[");
    for (size_t i = 0; i < list->items.size(); ++i) {
      separate(i > 0, level + 1);
      write(list->items[i], level + 1);
    }
    close(list->items.empty(), level, "]");
  }

 private:
  static std::string json_float(double value) {
    if (std::isfinite(value)) return float_text(value);
    return std::isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity";
  }

  std::string key_text(const Value& key) {
    if (key.text()) return key.text()->bytes;
    if (key.is_none()) return "null";
    if (key.is_bool()) return key.as_bool() ? "true" : "false";
    if (key.is_int()) return std::to_string(key.as_int());
    if (key.is_float()) return json_float(key.as_float());
    throw Fault(fmt::format("|tojson of an object whose key is {}", type_name(key)));
  }

  void write_dict(const Dict& dict, int level) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](auto* a, auto* b) { return order(a->first, b->first, budget_) < 0; });
    }
    add("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      separate(i > 0, level + 1);
      add(json_string(key_text(entries[i]->first), style_.ascii));
      add(style_.colon);
      write(entries[i]->second, level + 1);
    }
    close(entries.empty(), level, "}");
  }

  void new_line(int level) {
    add("\n");
    for (int i = 0; i < level; ++i) add(*style_.indent);
  }
  void separate(bool comma, int level) {
    if (comma) add(style_.comma);
    if (style_.indent) new_line(level);
  }
  void close(bool empty, int level, std::string_view bracket) {
    if (style_.indent && !empty) new_line(level);
    add(bracket);
  }

  const JsonStyle& style_;
};

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char shortest[40];
  const auto end =
      std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::scientific).ptr;
  const std::string scientific(shortest, end);
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(e + 1));
  if (exponent < -4 || exponent >= 16) return scientific;  // at least two digits of exponent, as in Python
  const auto fixed_end =
      std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::fixed).ptr;
  const std::string fixed(shortest, fixed_end);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

std::string to_text(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (value.text()) return value.text()->bytes;
  return repr(value, budget);
}

std::string repr(const Value& value, Budget& budget) {
  ReprWriter writer(budget);
  writer.write(value);
  return writer.take();
}

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.write(value);
  return writer.take();
}

}  // namespace natrix::chat
