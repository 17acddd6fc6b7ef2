// Strict reading of JSON files from any source, with checks on each member.
//
// Every error is an InputError "FILE: key "a.b" is FOUND; expected …".
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

/// Text from a file for use in a message: quoted and shortened, with bytes escaped that are
/// not printable ASCII.
std::string excerpt(std::string_view text);

/// What to do with Infinity, -Infinity and NaN. JSON does not have them, but Python's json writes them.
enum class NonFinite {
  kRefused,
  kTagged  // each reads as {"__float__": "Infinity"}, as transformers 5 writes it
};

/// Parses one JSON value in UTF-8. Refuses text after it, repeated keys, and nesting beyond 32 levels.
nlohmann::json parse_json(std::string_view text, const std::string& origin,
                          NonFinite non_finite = NonFinite::kRefused);
nlohmann::json read_json_file(const std::string& path, NonFinite non_finite = NonFinite::kRefused);

/// Borrows a parsed object. `origin` is the file. `path` is the prefix of the object's keys ("" or "mamba.").
class JsonObject {
 public:
  JsonObject(const nlohmann::json& value, std::string origin, std::string path = {});

  const std::string& origin() const { return origin_; }
  bool has(const std::string& key) const;
  /// Without a fallback the key must be present. With one, a key that is present must still be valid. Numbers
  /// must be finite; {"__float__": "Infinity"} is not a number.
  int64_t integer(const std::string& key, int64_t least, int64_t most,
                  std::optional<int64_t> fallback = {}) const;
  double number(const std::string& key, double least, double most, std::optional<double> fallback = {}) const;
  bool boolean(const std::string& key, std::optional<bool> fallback = {}) const;
  std::string text(const std::string& key, const std::optional<std::string>& fallback = {}) const;
  JsonObject object(const std::string& key) const;
  /// The member unchanged. InputError if it is absent.
  const nlohmann::json& at(const std::string& key) const;
  /// InputError if there is a member that is not in `known`.
  void allow_only(const std::vector<std::string>& known) const;

  /// Throws InputError that names the key, its value and what was expected.
  [[noreturn]] void fail(const std::string& key, std::string_view expected) const;

 private:
  const nlohmann::json* value_;
  std::string origin_, path_;
};

}  // namespace natrix
