#include "core/tokenizers/word_patterns.h"

#include <array>
#include <string>

#include "core/tokenizers/characters.h"
#include "core/tokenizers/utf8.h"

namespace natrix {
namespace {

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
// The pattern of Llama 3 around the part that says how many digits make a number.
constexpr const char* kLlama3Begin = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
constexpr const char* kLlama3End = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Reads characters one after another.
struct Cursor {
  std::string_view text;
  size_t at;

  bool done() const { return at >= text.size(); }
  /// The character here; 0 at the end, which no class contains.
  Character here() const { return done() ? Character{0, 0} : character_at(text, at); }
  template <class Is>
  void skip(const Is& is, int most = -1) {
    while (!done() && most-- != 0) {
      const Character c = here();
      if (!is(c.code)) return;
      at += static_cast<size_t>(c.length);
    }
  }
};

bool is_mark(uint32_t code) {  // [^\s\p{L}\p{N}]
  return !is_white_space(code) && !is_letter(code) && !is_number(code);
}
bool is_line_end(uint32_t code) {
  return code == '\r' || code == '\n';
}

/// The length of 's, 't, 're, 've, 'm, 'll or 'd at text[at], or 0.
size_t contraction(std::string_view text, size_t at, bool any_case) {
  if (text[at] != '\'' || at + 1 >= text.size()) return 0;
  const auto letter = [&](size_t i) {
    const char c = at + i < text.size() ? text[at + i] : '\0';
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(1), second = letter(2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return 3;
  constexpr std::string_view kLongS = "\xC5\xBF";  // ſ is an s in another case
  if (any_case && text.substr(at + 1).starts_with(kLongS)) return 3;
  return 0;
}

/// \s+(?!\S)|\s+ from text[at], a space: a run that something follows leaves its last character to it.
size_t white_space_end(std::string_view text, size_t at) {
  Cursor c{text, at};
  size_t last = at;
  while (!c.done() && is_white_space(c.here().code)) {
    last = c.at;
    c.at += static_cast<size_t>(c.here().length);
  }
  return c.done() || last == at ? c.at : last;
}

template <int kDigits>
size_t llama3_word_end(std::string_view text, size_t at) {
  if (const size_t length = contraction(text, at, true)) return at + length;
  const Character c = character_at(text, at);
  Cursor next{text, at + static_cast<size_t>(c.length)};
  // [^\r\n\p{L}\p{N}]?\p{L}+
  if (is_letter(c.code) || (!is_line_end(c.code) && !is_number(c.code) && is_letter(next.here().code))) {
    next.skip(is_letter);
    return next.at;
  }
  if (is_number(c.code)) {
    next.skip(is_number, kDigits - 1);
    return next.at;
  }
  // ' ?[^\s\p{L}\p{N}]+[\r\n]*'
  if (is_mark(c.code) || (c.code == ' ' && !next.done() && is_mark(next.here().code))) {
    next.skip(is_mark);
    next.skip(is_line_end);
    return next.at;
  }
  // \s*[\r\n]+: up to the last line end of the run of white space
  Cursor run{text, at};
  size_t line_end = at;
  while (!run.done() && is_white_space(run.here().code)) {
    const Character space = run.here();
    run.at += static_cast<size_t>(space.length);
    if (is_line_end(space.code)) line_end = run.at;
  }
  return line_end > at ? line_end : white_space_end(text, at);
}

}  // namespace

size_t gpt2_word_end(std::string_view text, size_t at) {
  if (const size_t length = contraction(text, at, false)) return at + length;
  Cursor c{text, at};
  if (text[at] == ' ' && at + 1 < text.size() && !is_white_space(character_at(text, at + 1).code)) ++c.at;
  const uint32_t first = c.here().code;
  if (is_white_space(first)) return white_space_end(text, at);
  is_letter(first) ? c.skip(is_letter) : is_number(first) ? c.skip(is_number) : c.skip(is_mark);
  return c.at;
}

WordEnd known_pattern(std::string_view pattern) {
  if (pattern == kGpt2) return gpt2_word_end;
  const auto llama3 = [&](std::string_view digits) {
    return pattern == std::string(kLlama3Begin) + std::string(digits) + kLlama3End;
  };
  if (llama3("{1,3}")) return llama3_word_end<3>;
  if (llama3("")) return llama3_word_end<1>;
  return nullptr;
}

}  // namespace natrix
