#include "configs/schema/field_types.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>

namespace natrix {
namespace {

/// The one unquoted text of a value, or nothing.
std::optional<std::string> plain(const Value& v) {
  if (v.is_list || v.quoted || v.texts.size() != 1) return std::nullopt;
  return v.texts[0];
}

template <class T>
std::optional<T> parse(const std::optional<std::string>& text) {
  if (!text || text->empty()) return std::nullopt;
  const bool plus = text->size() > 1 && (*text)[0] == '+' && (*text)[1] != '-';
  const char* first = text->data() + (plus ? 1 : 0);
  const char* last = text->data() + text->size();
  T value{};
  const auto [end, error] = std::from_chars(first, last, value);
  if (error != std::errc{} || end != last) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return std::nullopt;
  } else {
    const char* digits = *first == '-' ? first + 1 : first;
    if (*digits == '0' && last - digits > 1) return std::nullopt;  // 010: is that octal?
  }
  return value;
}

/// "300s" → 300 and "s"; the unit may be missing.
std::optional<std::pair<double, std::string>> with_unit(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  const size_t unit = text->find_first_not_of("0123456789.");
  const auto number = parse<double>(text->substr(0, unit));
  if (!number) return std::nullopt;
  return std::pair{*number, unit == std::string::npos ? std::string() : text->substr(unit)};
}

/// A parsed value for Field::set; monostate if there is none.
template <class T>
Scalar scalar(const std::optional<T>& value) {
  return value ? Scalar(*value) : Scalar();
}

template <class T>
bool is_within(const std::optional<T>& value, T least, T most) {
  return value && *value >= least && *value <= most;  // false for NaN
}

std::optional<int64_t> integer_in(const Scalar& s) {
  const auto* n = std::get_if<int64_t>(&s);
  return n != nullptr ? std::optional(*n) : std::nullopt;
}

std::optional<double> number_in(const Scalar& s) {
  if (const auto n = integer_in(s)) return static_cast<double>(*n);
  const auto* x = std::get_if<double>(&s);
  return x != nullptr ? std::optional(*x) : std::nullopt;
}

bool is_none(const Scalar& s, const std::string& word) {
  return std::holds_alternative<std::monostate>(s) || s == Scalar(word);
}

std::string range_text(const std::string& kind, const std::string& least, const std::string& most,
                       bool open) {
  return open ? fmt::format("{} of at least {}", kind, least)
              : fmt::format("{} from {} to {}", kind, least, most);
}

std::string integer_range(int64_t least, int64_t most) {
  return range_text("an integer", std::to_string(least), std::to_string(most), most == kUnlimited);
}

std::string number_range(double least, double most) {
  return range_text("a number", fmt::format("{}", least), fmt::format("{}", most), std::isinf(most));
}

}  // namespace

Field integer_field(std::string key, int64_t& to, int64_t least, int64_t most, std::string help) {
  const auto set = [&to, least, most](const Scalar& s) {
    const auto n = integer_in(s);
    if (is_within(n, least, most)) to = *n;
    return is_within(n, least, most);
  };
  return {.key = std::move(key),
          .expects = integer_range(least, most),
          .help = std::move(help),
          .read = [set](const Value& v) { return set(scalar(parse<int64_t>(plain(v)))); },
          .print = [&to] { return std::to_string(to); },
          .get = [&to] { return Scalar(to); },
          .set = set};
}

Field optional_integer_field(std::string key, std::optional<int64_t>& to, std::string absent, int64_t least,
                             int64_t most, std::string help) {
  const auto set = [&to, absent, least, most](const Scalar& s) {
    const auto n = integer_in(s);
    if (!is_none(s, absent) && !is_within(n, least, most)) return false;
    to = n;
    return true;
  };
  return {.key = std::move(key),
          .expects = absent + ", or " + integer_range(least, most),
          .help = std::move(help),
          .words = {absent},
          .read =
              [set, absent](const Value& v) {
                const auto n = parse<int64_t>(plain(v));
                return n ? set(*n) : plain(v) == absent && set(Scalar());
              },
          .print = [&to, absent] { return to ? std::to_string(*to) : absent; },
          .get = [&to] { return scalar(to); },
          .set = set};
}

Field seed_field(std::string key, uint64_t& to, std::string help) {
  return {.key = std::move(key),
          .expects = "an integer from 0 to 2^64 - 1",
          .help = std::move(help),
          .read =
              [&to](const Value& v) {
                const auto n = parse<uint64_t>(plain(v));
                if (n) to = *n;
                return n.has_value();
              },
          .print = [&to] { return std::to_string(to); }};
}

Field number_field(std::string key, double& to, double least, double most, std::string help) {
  const auto set = [&to, least, most](const Scalar& s) {
    const auto x = number_in(s);
    if (is_within(x, least, most)) to = *x;
    return is_within(x, least, most);
  };
  return {.key = std::move(key),
          .expects = number_range(least, most),
          .help = std::move(help),
          .read = [set](const Value& v) { return set(scalar(parse<double>(plain(v)))); },
          .print = [&to] { return fmt::format("{}", to); },
          .get = [&to] { return Scalar(to); },
          .set = set};
}

Field optional_number_field(std::string key, std::optional<double>& to, std::string absent, double least,
                            double most, std::string help) {
  const auto set = [&to, absent, least, most](const Scalar& s) {
    const auto x = number_in(s);
    if (!is_none(s, absent) && !is_within(x, least, most)) return false;
    to = x;
    return true;
  };
  return {.key = std::move(key),
          .expects = absent + ", or " + number_range(least, most),
          .help = std::move(help),
          .words = {absent},
          .read =
              [set, absent](const Value& v) {
                const auto x = parse<double>(plain(v));
                return x ? set(*x) : plain(v) == absent && set(Scalar());
              },
          .print = [&to, absent] { return to ? fmt::format("{}", *to) : absent; },
          .get = [&to] { return scalar(to); },
          .set = set};
}

Field number_pair_field(std::string key, double& first, double& second, double least, double below,
                        std::string help) {
  return {.key = std::move(key),
          .expects = fmt::format("a list of two numbers of at least {} and below {}", least, below),
          .help = std::move(help),
          .read =
              [&first, &second, least, below](const Value& v) {
                if (!v.is_list || v.texts.size() != 2) return false;
                const auto a = parse<double>(v.texts[0]), b = parse<double>(v.texts[1]);
                if (!a || !b || *a < least || *b < least || *a >= below || *b >= below) return false;
                first = *a;
                second = *b;
                return true;
              },
          .print = [&first, &second] { return fmt::format("[{}, {}]", first, second); }};
}

namespace {

std::optional<double> limit_in(const std::string& text) {
  if (text == "inf" || text == ".inf") return std::numeric_limits<double>::infinity();
  return parse<double>(text);
}

bool read_limits(const std::vector<std::string>& texts, double& first, double& second) {
  if (texts.size() != 2) return false;
  const auto a = limit_in(texts[0]), b = limit_in(texts[1]);
  if (!a || !b || *a < 0 || *b < *a) return false;
  first = *a;
  second = *b;
  return true;
}

}  // namespace

Field limits_field(std::string key, double& first, double& second, std::string help) {
  const auto print = [&first, &second] { return fmt::format("[{}, {}]", first, second); };
  return {
      .key = std::move(key),
      .expects = "a list of two numbers, such as [0, inf], the first not above the second",
      .help = std::move(help),
      .read = [&first, &second](const Value& v) { return v.is_list && read_limits(v.texts, first, second); },
      .print = print,
      .get = [print] { return Scalar(print()); },
      .set =
          [&first, &second](const Scalar& s) {
            const auto* text = std::get_if<std::string>(&s);
            if (text == nullptr || text->size() < 2) return false;
            const size_t comma = text->find(", ");
            if (text->front() != '[' || text->back() != ']' || comma == std::string::npos) return false;
            return read_limits(
                {text->substr(1, comma - 1), text->substr(comma + 2, text->size() - comma - 3)}, first,
                second);
          }};
}

Field boolean_field(std::string key, bool& to, std::string help, std::string yes, std::string no) {
  return {.key = std::move(key),
          .expects = yes + " or " + no,
          .help = std::move(help),
          .words = {yes, no},
          .read =
              [&to, yes, no](const Value& v) {
                if (plain(v) != yes && plain(v) != no) return false;
                to = plain(v) == yes;
                return true;
              },
          .print = [&to, yes, no] { return to ? yes : no; },
          .get = [&to] { return Scalar(to); },
          .set =
              [&to](const Scalar& s) {
                const auto* b = std::get_if<bool>(&s);
                if (b != nullptr) to = *b;
                return b != nullptr;
              }};
}

Field text_field(std::string key, std::string& to, std::string help) {
  const auto set = [&to](const Scalar& s) {
    const auto* text = std::get_if<std::string>(&s);
    if (text == nullptr || text->empty()) return false;
    to = *text;
    return true;
  };
  return {.key = std::move(key),
          .expects = "text",
          .help = std::move(help),
          .read = [set](const Value& v) { return !v.is_list && v.texts.size() == 1 && set(v.texts[0]); },
          .print = [&to] { return quoted_yaml(to); },
          .get = [&to] { return Scalar(to); },
          .set = set};
}

Field path_field(std::string key, std::string& to, std::string help, std::string absent) {
  Field f = text_field(std::move(key), to, std::move(help));
  f.expects = "a path";
  f.is_path = true;
  f.paths = [&to, absent]() -> std::vector<std::string*> {
    return to.empty() || to == absent ? std::vector<std::string*>() : std::vector{&to};
  };
  if (absent.empty()) return f;
  f.expects = absent + ", or a path";
  f.words = {absent};
  const std::string kept = absent == "none" ? "" : absent;
  f.read = [&to, absent, kept, read = f.read](const Value& v) {
    const bool is_path = read(v);
    if (is_path && to == absent) to = kept;
    return is_path;
  };
  f.print = [&to, absent, kept] { return to == kept ? absent : quoted_yaml(to); };
  return f;
}

Field bytes_field(std::string key, int64_t& to, std::string help) {
  return {.key = std::move(key),
          .expects = "a number of bytes up to 1024TiB, alone or with kB, MB, GB, TB, KiB, MiB, GiB or TiB",
          .help = std::move(help),
          .read =
              [&to](const Value& v) {
                static const std::pair<const char*, double> kUnits[] = {
                    {"", 1},      {"B", 1},        {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                    {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
                const auto amount = with_unit(plain(v));
                if (!amount) return false;
                for (const auto& [unit, size] : kUnits) {
                  if (amount->second == unit && amount->first * size <= 0x1p50) {
                    to = static_cast<int64_t>(amount->first * size);
                    return true;
                  }
                }
                return false;
              },
          .print =
              [&to] {
                static const std::pair<const char*, int> kUnits[] = {
                    {"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}};
                for (const auto& [unit, bits] : kUnits) {
                  if (to != 0 && to % (int64_t{1} << bits) == 0) return fmt::format("{}{}", to >> bits, unit);
                }
                return std::to_string(to);
              }};
}

Field seconds_field(std::string key, double& to, std::string help) {
  return {.key = std::move(key),
          .expects = "a time from 1ms to 168h with ms, s, m or h, such as 300s",
          .help = std::move(help),
          .read =
              [&to](const Value& v) {
                static const std::pair<const char*, double> kUnits[] = {
                    {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
                const auto amount = with_unit(plain(v));
                if (!amount) return false;
                for (const auto& [unit, size] : kUnits) {
                  const double seconds = amount->first * size;
                  if (amount->second == unit && seconds >= 1e-3 && seconds <= 168 * 3600.0) {
                    to = seconds;
                    return true;
                  }
                }
                return false;
              },
          .print = [&to] { return fmt::format("{}s", to); }};
}

Field named_field(std::string key, Names names, std::function<void(int)> set, std::function<int()> get,
                  std::string help) {
  std::string expects;
  for (size_t i = 0; i < names.size(); ++i) {
    expects += (i == 0 ? "" : i + 1 == names.size() ? " or " : ", ") + names[i].first;
  }
  std::vector<std::string> words;
  for (const auto& [name, value] : names) words.push_back(name);
  const auto name_now = [names, get] {
    for (const auto& [name, value] : names) {
      if (value == get()) return name;
    }
    return std::string();
  };
  const auto set_name = [names, set](const Scalar& s) {
    for (const auto& [name, value] : names) {
      if (s != Scalar(name)) continue;
      set(value);
      return true;
    }
    return false;
  };
  return {.key = std::move(key),
          .expects = expects,
          .help = std::move(help),
          .words = std::move(words),
          .read = [set_name](
                      const Value& v) { return !v.is_list && v.texts.size() == 1 && set_name(v.texts[0]); },
          .print = name_now,
          .get = [name_now] { return Scalar(name_now()); },
          .set = set_name};
}

std::string quoted_yaml(const std::string& text) {
  constexpr std::string_view kSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
  const bool is_null = text == "null" || text == "Null" || text == "NULL";
  const bool plain =
      !text.empty() && text[0] != '-' && !is_null && text.find_first_not_of(kSafe) == std::string::npos;
  if (plain) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

}  // namespace natrix
