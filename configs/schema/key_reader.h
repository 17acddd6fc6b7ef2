// KeyReader: sets fields from YAML leaves and command-line overrides, and collects their errors. All of
// natrix's strict YAML files are read with it. The list of fields defines the keys.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "configs/schema/field.h"

namespace natrix {

class KeyReader {
 public:
  /// Describes a kind of file, for messages.
  struct Kind {
    std::string needs;   // for a file without keys: "an experiment needs at least model.pattern, …"
    std::string listed;  // for a key that resembles no other: "docs/config.md lists them"
  };
  /// The members that `fields` are bound to, and `origin` (key → place that set it), outlive the reader.
  KeyReader(Kind kind, std::vector<Field> fields, std::map<std::string, std::string>& origin)
      : kind_(std::move(kind)), fields_(std::move(fields)), origin_(origin) {}
  KeyReader(const KeyReader&) = delete;
  KeyReader& operator=(const KeyReader&) = delete;

  /// Reads a file, after the file that it extends. `referrer`: the place that names the file, or empty.
  void add_file(const std::string& path, const std::string& referrer = "");
  void add_text(std::string_view text, const std::string& origin);
  /// section.key=value, from the command line.
  void add_override(const std::string& text);

  const std::vector<Field>& fields() const { return fields_; }
  void report(const std::string& place, const std::string& what);
  /// Throws ConfigError with every problem so far, one line each, if there is any.
  void raise_problems() const;

 private:
  void refuse_circle(const std::string& path, const std::string& referrer) const;
  void set(const std::string& key, Value value, const std::string& origin,
           const std::filesystem::path& folder);
  std::string unknown(const std::string& key) const;

  Kind kind_;
  std::vector<Field> fields_;
  std::map<std::string, std::string>& origin_;
  std::vector<std::string> chain_;  // of files, by extends
  std::vector<std::string> problems_;
};

}  // namespace natrix
