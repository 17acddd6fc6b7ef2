// The kinds of fields: how each kind of value is read, checked and printed.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <utility>

#include "configs/schema/field.h"

namespace natrix {

using Names = std::vector<std::pair<std::string, int>>;  // of an enumeration's values

inline constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();  // as `most`: no text names it

Field integer_field(std::string key, int64_t& to, int64_t least, int64_t most, std::string help);
/// `absent`: the word that stands for no value ("auto").
Field optional_integer_field(std::string key, std::optional<int64_t>& to, std::string absent, int64_t least,
                             int64_t most, std::string help);
Field seed_field(std::string key, uint64_t& to, std::string help);
Field number_field(std::string key, double& to, double least, double most, std::string help);
Field optional_number_field(std::string key, std::optional<double>& to, std::string absent, double least,
                            double most, std::string help);
Field number_pair_field(std::string key, double& first, double& second, double least, double below,
                        std::string help);
/// A list of two numbers of at least 0, the second of which may be inf. As a Scalar it is that text.
Field limits_field(std::string key, double& first, double& second, std::string help);
Field boolean_field(std::string key, bool& to, std::string help, std::string yes = "true",
                    std::string no = "false");
Field text_field(std::string key, std::string& to, std::string help);
/// `absent`: the word that stands for no path and is kept as the empty text ("none"); or a word that is kept
/// as it is ("bytes"). Empty: a path is needed.
Field path_field(std::string key, std::string& to, std::string help, std::string absent = "");
/// A list of paths, each alone or as {path, weight, key}.
Field data_field(std::string key, std::vector<DataEntry>& to, std::string help);
/// Bytes with a unit: 512MiB, 1GiB, 100MB, or a plain number; up to 1 PiB.
Field bytes_field(std::string key, int64_t& to, std::string help);
/// Seconds with a unit: 300s, 5m, 1h, 500ms; up to a week.
Field seconds_field(std::string key, double& to, std::string help);

Field named_field(std::string key, Names names, std::function<void(int)> set, std::function<int()> get,
                  std::string help);

template <class E>
Field choice_field(std::string key, E& to, std::initializer_list<std::pair<const char*, E>> values,
                   std::string help) {
  Names names;
  for (const auto& [name, value] : values) names.emplace_back(name, static_cast<int>(value));
  return named_field(
      std::move(key), std::move(names), [&to](int v) { to = static_cast<E>(v); },
      [&to] { return static_cast<int>(to); }, std::move(help));
}

/// A string as YAML that reads back as that string.
std::string quoted_yaml(const std::string& text);

}  // namespace natrix
