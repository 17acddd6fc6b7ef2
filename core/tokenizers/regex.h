// Regex: a compiled regular expression over UTF-8 (PCRE2, with Unicode classes), for finding matches one after another.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace natrix {

class Regex {
 public:
  /// `where` begins the message of the InputError for a pattern that does not compile.
  Regex(const std::string& pattern, const std::string& where);
  ~Regex();
  Regex(Regex&&) noexcept;

  /// Begin and end of the first match that starts at or after `from`. Text that is not UTF-8 must not be given.
  /// RunError if matching takes more steps than PCRE2 allows. Any number of threads may call it at once.
  std::optional<std::pair<size_t, size_t>> find(std::string_view text, size_t from) const;
  /// The text with every match replaced by `content`, which is taken literally. Text that is not UTF-8 stays as it is.
  std::string replaced(std::string_view text, std::string_view content) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace natrix
