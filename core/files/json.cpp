#include "core/files/json.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "core/files/foreign_file.h"
#include "core/files/mapped_file.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int kMostNesting = 32;     // nothing that natrix reads nests deeper than five
constexpr size_t kMostQuoted = 120;  // bytes of foreign text in a message
constexpr const char* kFloatTag = "__float__";
constexpr std::array<std::string_view, 3> kNonFinite = {"-Infinity", "Infinity", "NaN"};

using nlohmann::json;

// Of two equal keys nlohmann silently keeps the last. A reader that keeps the first would see another file.
class DuplicateKeys {
 public:
  explicit DuplicateKeys(const std::string& origin) : origin_(origin) {}

  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMostNesting) {
      throw InputError(fmt::format("{}: JSON nested deeper than {} levels", origin_, kMostNesting));
    }
    if (event == json::parse_event_t::object_start) open_.emplace_back();
    if (event == json::parse_event_t::object_end) open_.pop_back();
    if (event == json::parse_event_t::key && !open_.back().insert(parsed.get<std::string>()).second) {
      throw InputError(fmt::format("{}: key {} appears twice in one object; expected it once", origin_,
                                   excerpt(parsed.get_ref<const std::string&>())));
    }
    return true;
  }

 private:
  const std::string& origin_;
  std::vector<std::unordered_set<std::string>>
      open_;  // keys of the objects that enclose the current position
};

/// Converts a text that may contain Infinity, -Infinity and NaN to JSON. Outside strings each becomes an
/// object. An object is valid where a value is expected, and an error everywhere else.
struct TaggedText {
  explicit TaggedText(std::string_view text) {
    bool in_string = false;
    for (size_t at = 0; at < text.size();) {
      const char c = text[at];
      const auto word = std::find_if(kNonFinite.begin(), kNonFinite.end(),
                                     [&](std::string_view w) { return text.substr(at).starts_with(w); });
      if (!in_string && word != kNonFinite.end()) {
        tagged += fmt::format("{{\"{}\":\"{}\"}}", kFloatTag, *word);
        at += word->size();
        longer.emplace_back(tagged.size(), tagged.size() - at);
        continue;
      }
      if (c == '"') in_string = !in_string;
      const size_t count = in_string && c == '\\' ? std::min<size_t>(2, text.size() - at) : 1;
      tagged += text.substr(at, count);
      at += count;
    }
  }

  /// Maps an offset in this text to the offset in the original text.
  size_t given(size_t place) const {
    const auto after =
        std::find_if(longer.rbegin(), longer.rend(), [&](auto& l) { return l.first <= place; });
    return place - (after == longer.rend() ? 0 : after->second);
  }

  std::string tagged;
  std::vector<std::pair<size_t, size_t>> longer;  // end of each object, bytes added so far
};

[[noreturn]] void fail_parse(std::string_view text, size_t byte, const std::string& origin) {
  if (const std::string foreign = looks_foreign(text); !foreign.empty()) {
    throw InputError(fmt::format("{}: not valid JSON: {}", origin, foreign));
  }
  const size_t near = std::min(byte, text.size()), from = near > 20 ? near - 20 : 0;
  const std::string_view before = text.substr(0, byte > 0 ? byte - 1 : 0);  // bytes are counted from 1
  const size_t line_start = before.rfind('\n') + 1;                         // 0 on the first line
  throw InputError(fmt::format("{}: not valid JSON at line {}, column {}, after {}", origin,
                               std::count(before.begin(), before.end(), '\n') + 1,
                               before.size() - line_start + 1, excerpt(text.substr(from, near - from))));
}

/// The word of {"__float__": word}, or nothing.
std::string_view float_tag(const json& value) {
  if (!value.is_object() || value.size() != 1 || !value.contains(kFloatTag)) return {};
  const json& word = value[kFloatTag];
  if (!word.is_string()) return {};
  const auto found = std::find(kNonFinite.begin(), kNonFinite.end(), word.get_ref<const std::string&>());
  return found == kNonFinite.end() ? std::string_view() : *found;
}

std::string shown(const json& value) {
  if (const std::string_view word = float_tag(value); !word.empty()) return std::string(word);
  if (value.is_string()) return excerpt(value.get_ref<const std::string&>());
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  return value.dump();
}

}  // namespace

std::string excerpt(std::string_view text) {
  std::string s = "\"";
  for (size_t i = 0; i < text.size() && i < kMostQuoted; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c >= 0x7f) {
      s += fmt::format("\\x{:02x}", c);
    } else {
      s += static_cast<char>(c);
    }
  }
  return s + (text.size() > kMostQuoted ? "…\"" : "\"");
}

json parse_json(std::string_view text, const std::string& origin, NonFinite non_finite) {
  const TaggedText own(non_finite == NonFinite::kTagged ? text : std::string_view());
  const std::string_view parsed_text = non_finite == NonFinite::kTagged ? own.tagged : text;
  try {
    DuplicateKeys duplicates(origin);  // by reference: std::function copies what it is given
    return json::parse(
        parsed_text.begin(), parsed_text.end(),
        [&](int depth, json::parse_event_t event, json& parsed) { return duplicates(depth, event, parsed); });
  } catch (const json::parse_error& e) {
    fail_parse(text, own.given(e.byte), origin);
  } catch (const json::out_of_range&) {
    throw InputError(fmt::format("{}: a JSON number is too large for a double", origin));
  }
}

json read_json_file(const std::string& path, NonFinite non_finite) {
  return parse_json(MappedFile(path).text(), path, non_finite);
}

JsonObject::JsonObject(const json& value, std::string origin, std::string path)
    : value_(&value), origin_(std::move(origin)), path_(std::move(path)) {
  if (!value.is_object()) {
    throw InputError(fmt::format("{}: {} is {}; expected a JSON object", origin_,
                                 path_.empty() ? "the whole" : excerpt(path_), shown(value)));
  }
}

bool JsonObject::has(const std::string& key) const {
  return value_->contains(key);
}

const json& JsonObject::at(const std::string& key) const {
  const auto found = value_->find(key);
  if (found == value_->end())
    throw InputError(fmt::format("{}: key {} is missing", origin_, excerpt(path_ + key)));
  return *found;
}

int64_t JsonObject::integer(const std::string& key, int64_t least, int64_t most,
                            std::optional<int64_t> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const json& value = at(key);
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
                                               : value.is_number_integer();
  if (!fits || value.get<int64_t>() < least || value.get<int64_t>() > most) {
    fail(key, fmt::format("an integer from {} to {}", least, most));
  }
  return value.get<int64_t>();
}

double JsonObject::number(const std::string& key, double least, double most,
                          std::optional<double> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const json& value = at(key);
  if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most)) {
    fail(key, fmt::format("a number from {:g} to {:g}", least, most));
  }
  return value.get<double>();
}

bool JsonObject::boolean(const std::string& key, std::optional<bool> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const json& value = at(key);
  if (!value.is_boolean()) fail(key, "true or false");
  return value.get<bool>();
}

std::string JsonObject::text(const std::string& key, const std::optional<std::string>& fallback) const {
  if (fallback && !has(key)) return *fallback;
  const json& value = at(key);
  if (!value.is_string()) fail(key, "a string");
  return value.get<std::string>();
}

JsonObject JsonObject::object(const std::string& key) const {
  const json& value = at(key);
  if (!value.is_object()) fail(key, "an object");
  return JsonObject(value, origin_, path_ + key + ".");
}

void JsonObject::allow_only(const std::vector<std::string>& known) const {
  for (const auto& [key, value] : value_->items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw InputError(fmt::format("{}: key {} is unknown; expected {}", origin_, excerpt(path_ + key),
                                   fmt::join(known, ", ")));
    }
  }
}

void JsonObject::fail(const std::string& key, std::string_view expected) const {
  throw InputError(
      fmt::format("{}: key {} is {}; expected {}", origin_, excerpt(path_ + key), shown(at(key)), expected));
}

}  // namespace natrix
