// KeyReader: sets fields from YAML leaves and command-line overrides, and collects what is wrong with them.
// What every strict YAML of ours is read with; the list of fields says which keys there are.
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
  /// What a file of this kind is, for messages.
  struct Kind {
    std::string needs;   // "an experiment needs at least model.pattern, …": said of a file without keys
    std::string listed;  // "docs/config.md lists them": said of a key that is like no other
  };
  /// The members that `fields` are bound to, and `origin` (key → place that set it), outlive the reader.
  KeyReader(Kind kind, std::vector<Field> fields, std::map<std::string, std::string>& origin)
      : kind_(std::move(kind)), fields_(std::move(fields)), origin_(origin) {}
  KeyReader(const KeyReader&) = delete;
  KeyReader& operator=(const KeyReader&) = delete;

  /// A file, and before it what it extends. `referrer`: the place that asks for the file, or empty.
  void add_file(const std::string& path, const std::string& referrer = "");
  void add_text(std::string_view text, const std::string& origin);
  /// section.key=value, from the command line.
  void add_override(const std::string& text);

  const std::vector<Field>& fields() const { return fields_; }
  void report(const std::string& place, const std::string& what);
  /// ConfigError with every problem so far, a line each; nothing if there is none.
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
