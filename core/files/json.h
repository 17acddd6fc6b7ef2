// JSON that others may have written: read strictly, taken member by member with checks.
//
// Every error is an InputError "FILE: key "a.b" is FOUND; expected …".
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace natrix {

/// Text from a file, fit for a message: quoted, cut to a line's length,
/// bytes that are not printable ASCII escaped.
std::string excerpt(std::string_view text);

/// What becomes of Infinity, -Infinity and NaN, which JSON does not have and Python's json writes.
enum class NonFinite {
  kRefused,
  kTagged  // each reads as {"__float__": "Infinity"}, which is how transformers 5 writes it
};

/// One JSON value and nothing after it, in UTF-8, without repeated keys, or nesting beyond 32 levels.
nlohmann::json parse_json(std::string_view text, const std::string& origin,
                          NonFinite non_finite = NonFinite::kRefused);
nlohmann::json read_json_file(const std::string& path, NonFinite non_finite = NonFinite::kRefused);

/// Borrows a parsed object. `origin` is the file; `path` leads to the object within it ("" or "mamba.").
class JsonObject {
 public:
  JsonObject(const nlohmann::json& value, std::string origin, std::string path = {});

  const std::string& origin() const { return origin_; }
  bool has(const std::string& key) const;
  /// Without a fallback the key must be there; with one, a key that is there must still be right. Numbers are
  /// finite: {"__float__": "Infinity"} is none.
  int64_t integer(const std::string& key, int64_t least, int64_t most,
                  std::optional<int64_t> fallback = {}) const;
  double number(const std::string& key, double least, double most, std::optional<double> fallback = {}) const;
  bool boolean(const std::string& key, std::optional<bool> fallback = {}) const;
  std::string text(const std::string& key, const std::optional<std::string>& fallback = {}) const;
  JsonObject object(const std::string& key) const;
  /// The member as it is; InputError if absent.
  const nlohmann::json& at(const std::string& key) const;
  /// InputError for a member that is none of `known`.
  void allow_only(std::initializer_list<std::string_view> known) const;

  /// InputError naming the key, what it holds and what was expected.
  [[noreturn]] void fail(const std::string& key, std::string_view expected) const;

 private:
  const nlohmann::json* value_;
  std::string origin_, path_;
};

}  // namespace natrix
