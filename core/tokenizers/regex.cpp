#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/tokenizers/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include "core/files/json.h"
#include "core/tokenizers/utf8.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

/// Where PCRE2 writes a match: the range of the whole match, for any pattern.
struct MatchData {
  MatchData() : data(pcre2_match_data_create(1, nullptr)) {}
  ~MatchData() { pcre2_match_data_free(data); }
  MatchData(const MatchData&) = delete;
  MatchData& operator=(const MatchData&) = delete;
  pcre2_match_data* data;
};

}  // namespace

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern, const std::string& where) : compiled_(std::make_unique<Compiled>()) {
  int error = 0;
  PCRE2_SIZE at = 0;
  compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr);
  if (compiled_->code == nullptr) {
    throw InputError(fmt::format("{}: the regular expression {} is not valid at character {}: {}", where,
                                 excerpt(pattern), at, message_of(error)));
  }
  pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE);  // without it, matching is slower
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

std::optional<std::pair<size_t, size_t>> Regex::find(std::string_view text, size_t from) const {
  thread_local const MatchData match;  // belongs to one call at a time
  const int found = pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                PCRE2_NO_UTF_CHECK, match.data, nullptr);
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) throw RunError("a tokenizer's regular expression failed: " + message_of(found));
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.data);
  return std::pair<size_t, size_t>(range[0], range[1]);
}

std::string Regex::replaced(std::string_view text, std::string_view content) const {
  if (!is_utf8(text)) return std::string(text);
  std::string out;
  size_t done = 0, from = 0;
  while (const auto match = find(text, from)) {
    const auto [begin, end] = *match;
    out.append(text.substr(done, begin - done)).append(content);
    done = from = end;
    if (begin < end) continue;
    if (end == text.size()) break;
    from += static_cast<size_t>(character_at(text, end).length);  // an empty match does not repeat
  }
  return out.append(text.substr(done));
}

}  // namespace natrix
