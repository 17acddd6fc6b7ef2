#include "core/chat/string_methods.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "core/chat/printing.h"
#include "core/chat/python_format.h"
#include "core/chat/unicode.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

using Points = std::vector<std::string_view>;

bool is_ascii_upper(std::string_view p) {
  return lower(p) != p;
}
bool is_ascii_lower(std::string_view p) {
  return upper(p) != p;
}
bool is_decimal(std::string_view p) {
  return p.size() == 1 && p[0] >= '0' && p[0] <= '9';
}
// Letters beyond ASCII: all but the spaces and the signs of Latin-1 and the punctuation blocks.
bool is_letter(std::string_view p) {
  const uint32_t c = decode_point(p);
  if (p.size() == 1) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return !is_space(p) && (c >= 0xc0 || c == 0xaa || c == 0xb5 || c == 0xba) && c != 0xd7 && c != 0xf7 &&
         !(c >= 0x2000 && c <= 0x206f) && !(c >= 0x20a0 && c <= 0x20cf) && !(c >= 0x2190 && c <= 0x2bff) &&
         !(c >= 0x3000 && c <= 0x3003) && !(c >= 0x3008 && c <= 0x3020) && !(c >= 0xfe10 && c <= 0xfe1f) &&
         !(c >= 0xff00 && c <= 0xff20) && !(c >= 0x1f000 && c <= 0x1faff);
}

bool all_points(std::string_view text, auto holds) {
  const Points points = code_points(text);
  return !points.empty() && std::all_of(points.begin(), points.end(), holds);
}

std::string title_case(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const std::string_view point : code_points(text)) {
    out += inside ? lower(point) : upper(point);
    inside = is_letter(point);
  }
  return out;
}

std::string swapped_case(std::string_view text) {
  std::string out;
  for (const std::string_view point : code_points(text))
    out += is_ascii_upper(point) ? lower(point) : upper(point);
  return out;
}

Value text_list(const std::vector<std::string>& texts, bool markup, Budget& budget) {
  Items items;
  for (const std::string& text : texts) {
    budget.bytes(text.size() + sizeof(Value));
    items.push_back(Value::text(text, markup));
  }
  return Value::list(std::move(items));
}

std::vector<std::string> split_at_space(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::string> parts;
  for (;;) {
    text = from_right ? strip_right(text) : strip_left(text);
    if (text.empty()) break;
    if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
      parts.emplace_back(from_right ? strip_right(text) : text);
      break;
    }
    size_t end = from_right ? text.size() : 0;
    if (from_right) {
      const Points points = code_points(text);
      for (size_t i = points.size(); i > 0 && !is_space(points[i - 1]); --i) end -= points[i - 1].size();
      parts.emplace_back(text.substr(end));
      text = text.substr(0, end);
    } else {
      while (end < text.size() && !is_space(text.substr(end, point_bytes(text.substr(end))))) ++end;
      parts.emplace_back(text.substr(0, end));
      text.remove_prefix(end);
    }
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> split_at(std::string_view text, std::string_view mark, int64_t most,
                                  bool from_right) {
  if (mark.empty()) throw Fault("split() at an empty string");
  std::vector<std::string> parts;
  for (;;) {
    const bool full = most >= 0 && static_cast<int64_t>(parts.size()) >= most;
    const size_t at = full ? std::string_view::npos : from_right ? text.rfind(mark) : text.find(mark);
    if (at == std::string_view::npos) break;
    parts.emplace_back(from_right ? text.substr(at + mark.size()) : text.substr(0, at));
    text = from_right ? text.substr(0, at) : text.substr(at + mark.size());
  }
  parts.emplace_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Value split(const Text& self, Arguments& arguments, bool from_right, Budget& budget) {
  const Value* mark = arguments.take(0, "sep");
  const int64_t most = arguments.integer(1, "maxsplit", -1);
  arguments.finish();
  if (!mark || mark->is_none())
    return text_list(split_at_space(self.bytes, most, from_right), self.markup, budget);
  return text_list(split_at(self.bytes, need_text(*mark, "sep"), most, from_right), self.markup, budget);
}

Value partition(const Text& self, Arguments& arguments, bool from_right) {
  const std::string mark = need_text(arguments.need(0), "sep");
  arguments.finish();
  if (mark.empty()) throw Fault("partition() at an empty string");
  const size_t at = from_right ? self.bytes.rfind(mark) : self.bytes.find(mark);
  const auto part = [&](std::string text) { return Value::text(std::move(text), self.markup); };
  if (at == std::string::npos) {
    return Value::list({part(from_right ? "" : self.bytes), part(""), part(from_right ? self.bytes : "")},
                       ListKind::kTuple);
  }
  return Value::list({part(self.bytes.substr(0, at)), part(mark), part(self.bytes.substr(at + mark.size()))},
                     ListKind::kTuple);
}

/// The part of a string that [start, end) selects, and how many code points are before it.
std::pair<std::string, int64_t> selected(const Text& self, Arguments& arguments) {
  const Value *start = arguments.take(1), *end = arguments.take(2);
  if (!start && !end) return {self.bytes, 0};
  const Points points = code_points(self.bytes);
  const auto size = static_cast<int64_t>(points.size());
  const auto place = [&](const Value* given, int64_t fallback) {
    if (!given || given->is_none()) return fallback;
    const int64_t at = need_integer(*given, "a bound");
    return at < 0 ? std::max<int64_t>(at + size, 0) : std::min(at, size + 1);
  };
  const int64_t from = place(start, 0), to = std::min(place(end, size), size);
  if (from > size) throw Fault("a search that starts after the end of the string");
  std::string part;
  for (int64_t i = from; i < to; ++i) part += points[static_cast<size_t>(i)];
  return {part, from};
}

bool matches_any(const Text& self, Arguments& arguments, bool at_start) {
  const Value& wanted = arguments.need(0);
  const std::string text = selected(self, arguments).first;
  arguments.finish();
  const auto matches = [&](const std::string& part) {
    return at_start ? text.starts_with(part) : text.ends_with(part);
  };
  const List* list = wanted.list();
  if (!list || list->kind != ListKind::kTuple) return matches(need_text(wanted, "the argument"));
  return std::any_of(list->items.begin(), list->items.end(),
                     [&](const Value& v) { return matches(need_text(v, "the argument")); });
}

Value search(const Text& self, std::string_view name, Arguments& arguments) {
  const std::string wanted = need_text(arguments.need(0), "the argument");
  const auto [text, before] = selected(self, arguments);
  arguments.finish();
  if (name == "count") {
    if (wanted.empty()) return Value(count_code_points(text) + 1);
    int64_t count = 0;
    for (size_t at = 0; (at = text.find(wanted, at)) != std::string::npos; at += wanted.size()) ++count;
    return Value(count);
  }
  const size_t at = name[0] == 'r' ? text.rfind(wanted) : text.find(wanted);
  if (at != std::string::npos) return Value(before + count_code_points(std::string_view(text).substr(0, at)));
  if (name.ends_with("index"))
    throw Fault(fmt::format("index() of {}, which the string does not have", excerpt(wanted)));
  return Value(int64_t{-1});
}

Value justified(const Text& self, std::string_view name, Arguments& arguments, Budget& budget) {
  const int64_t width = need_integer(arguments.need(0), "width");
  const std::string fill = name == "zfill" ? "0" : arguments.text(1, "", " ");
  arguments.finish();
  if (width > kMostWidth) throw Fault(fmt::format("a width above {}", kMostWidth));
  if (count_code_points(fill) != 1) throw Fault("a fill that is not one character");
  const int64_t gap = std::max<int64_t>(0, width - count_code_points(self.bytes));
  const int64_t left = name == "ljust" ? 0 : name == "center" ? gap / 2 + (gap & width & 1) : gap;
  budget.bytes(self.bytes.size() + static_cast<size_t>(gap) * fill.size());
  std::string before, after;
  for (int64_t i = 0; i < gap; ++i) (i < left ? before : after) += fill;
  const bool sign = name == "zfill" && !self.bytes.empty() && (self.bytes[0] == '-' || self.bytes[0] == '+');
  return Value::text(self.bytes.substr(0, sign) + before + self.bytes.substr(sign) + after, self.markup);
}

Value strip(const Text& self, std::string_view name, Arguments& arguments) {
  const Value* characters = arguments.take(0);
  arguments.finish();
  const std::string* given =
      characters && !characters->is_none() ? &need_text(*characters, "the argument") : nullptr;
  return Value::text(stripped(self.bytes, given, name != "rstrip", name != "lstrip"), self.markup);
}

Value replace(const Text& self, Arguments& arguments, Budget& budget) {
  const std::string from = need_text(arguments.need(0), "old"), to = need_text(arguments.need(1), "new");
  const int64_t most = arguments.integer(2, "count", -1);
  arguments.finish();
  // The worst case: every place that can match does.
  const size_t places = self.bytes.size() / std::max<size_t>(1, from.size()) + 1;
  if (to.size() > kMostTextBytes / places) {
    throw Fault(fmt::format("replace() that may make a string of more than {} bytes", kMostTextBytes));
  }
  std::string out = replace_all(self.bytes, from, to, most);
  budget.bytes(out.size());
  return Value::text(std::move(out), self.markup);
}

Value without_affix(const Text& self, Arguments& arguments, bool prefix) {
  const std::string affix = need_text(arguments.need(0), "the argument");
  arguments.finish();
  const bool has = prefix ? self.bytes.starts_with(affix) : self.bytes.ends_with(affix);
  const size_t size = self.bytes.size() - (has ? affix.size() : 0);
  return Value::text(self.bytes.substr(has && prefix ? affix.size() : 0, size), self.markup);
}

bool is_cased_as(std::string_view text, bool upper_case) {
  const Points points = code_points(text);
  const auto wrong = [&](auto p) { return upper_case ? is_ascii_lower(p) : is_ascii_upper(p); };
  const auto right = [&](auto p) { return upper_case ? is_ascii_upper(p) : is_ascii_lower(p); };
  return std::none_of(points.begin(), points.end(), wrong) &&
         std::any_of(points.begin(), points.end(), right);
}

/// Methods without arguments.
Value call_plain(const Text& self, std::string_view name, Arguments& arguments, Budget& budget) {
  arguments.finish();
  budget.bytes(self.bytes.size());
  const std::string& text = self.bytes;
  if (name == "lower" || name == "casefold") return Value::text(lower(text), self.markup);
  if (name == "upper") return Value::text(upper(text), self.markup);
  if (name == "title") return Value::text(title_case(text), self.markup);
  if (name == "capitalize") return Value::text(capitalized(text), self.markup);
  if (name == "swapcase") return Value::text(swapped_case(text), self.markup);
  if (name == "isdigit" || name == "isdecimal" || name == "isnumeric")
    return Value(all_points(text, is_decimal));
  if (name == "isalpha") return Value(all_points(text, is_letter));
  if (name == "isspace") return Value(all_points(text, is_space));
  if (name == "isalnum") return Value(all_points(text, [](auto p) { return is_letter(p) || is_decimal(p); }));
  return Value(is_cased_as(text, name == "isupper"));
}

constexpr std::array<std::string_view, 14> kPlain = {
    "lower",     "casefold",  "upper",   "title",   "capitalize", "swapcase", "isdigit",
    "isdecimal", "isnumeric", "isalpha", "isspace", "isalnum",    "isupper",  "islower"};
constexpr std::array<std::string_view, 24> kWithArguments = {
    "split",   "rsplit", "partition", "rpartition", "startswith",   "endswith",
    "find",    "rfind",  "index",     "rindex",     "count",        "zfill",
    "ljust",   "rjust",  "center",    "strip",      "lstrip",       "rstrip",
    "replace", "join",   "format",    "splitlines", "removeprefix", "removesuffix"};

bool among(const auto& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::string capitalized(std::string_view text) {
  if (text.empty()) return {};
  const size_t first = point_bytes(text);
  return upper(text.substr(0, first)) + lower(text.substr(first));
}

std::string stripped(std::string_view text, const std::string* characters, bool left, bool right) {
  if (!characters) {
    if (left) text = strip_left(text);
    return std::string(right ? strip_right(text) : text);
  }
  const Points set = code_points(*characters), points = code_points(text);
  const auto in_set = [&](std::string_view p) { return std::find(set.begin(), set.end(), p) != set.end(); };
  size_t first = 0, last = points.size();
  while (left && first < last && in_set(points[first])) ++first;
  while (right && last > first && in_set(points[last - 1])) --last;
  std::string out;
  for (size_t i = first; i < last; ++i) out += points[i];
  return out;
}

std::string joined(const Items& items, std::string_view glue, Budget& budget) {
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string text = to_text(items[i], budget);
    budget.bytes(text.size() + glue.size());
    if (i > 0) out += glue;
    out += text;
    if (out.size() > kMostTextBytes) throw Fault(fmt::format("a text of more than {} bytes", kMostTextBytes));
  }
  return out;
}

bool is_string_method(std::string_view name) {
  return among(kPlain, name) || among(kWithArguments, name);
}

Value call_string_method(const Text& self, std::string_view name, Arguments& arguments, Budget& budget) {
  budget.step(static_cast<int64_t>(self.bytes.size() / 64));
  if (among(kPlain, name)) return call_plain(self, name, arguments, budget);
  if (name == "split" || name == "rsplit") return split(self, arguments, name == "rsplit", budget);
  if (name == "partition" || name == "rpartition") return partition(self, arguments, name == "rpartition");
  if (name == "startswith" || name == "endswith")
    return Value(matches_any(self, arguments, name == "startswith"));
  if (name == "replace") return replace(self, arguments, budget);
  if (name == "format") return brace_format(self, arguments, budget);
  if (name.ends_with("strip")) return strip(self, name, arguments);
  if (name.starts_with("remove")) return without_affix(self, arguments, name == "removeprefix");
  if (name == "join") {
    const Items items = iterate(arguments.need(0), budget);
    arguments.finish();
    for (const Value& item : items) need_text(item, "an item of join()");
    return Value::text(joined(items, self.bytes, budget), self.markup);
  }
  if (name == "splitlines") {
    arguments.finish();
    return text_list(split_lines(self.bytes), self.markup, budget);
  }
  if (name == "zfill" || name.ends_with("just") || name == "center")
    return justified(self, name, arguments, budget);
  return search(self, name, arguments);
}

}  // namespace natrix::chat
