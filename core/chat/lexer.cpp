#include "core/chat/lexer.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "core/chat/unicode.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

constexpr std::array<std::string_view, 28> kOperators = {  // longer ones first
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]",
    "(",  ")",  "{",  "}",  ">",  "<",  "=", ".", ":", "|", ",", ";", "!", "&"};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// One kind of line end, and none at the end of the file.
std::string normalised(std::string_view source) {
  std::string out = replace_all(replace_all(source, "\r\n", "\n"), "\r", "\n");
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) outside();
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool next_is(std::string_view text) const { return rest().starts_with(text); }
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxFault{message, line_}; }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void advance(size_t bytes) {
    line_ += static_cast<int>(std::count(&source_[at_], &source_[at_] + bytes, '\n'));
    at_ += bytes;
  }

  void skip_space() { advance(rest().size() - strip_left(rest()).size()); }

  /// Everything up to the next tag, and the start of that tag.
  void outside() {
    const size_t begin = at_;
    size_t tag = begin;
    do {
      tag = source_.find('{', tag);
      if (tag == std::string::npos) return advance_as_data(source_.size(), source_.size());
    } while (tag++, tag == source_.size() || std::string_view("{%#").find(source_[tag]) == std::string::npos);
    const char kind = source_[tag--];
    advance_as_data(tag, kept_until(begin, tag, tag + 2, kind != '{'));
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    const bool block = kind == '%';
    add(block ? TokenKind::kBlockBegin : TokenKind::kPrintBegin, "");
    advance(2);
    if (next_is("-") || next_is("+")) advance(1);
    inside(block);
  }

  /// The end of the data before a tag: the tag's sign, or its place at the start of a line, strips whitespace.
  size_t kept_until(size_t begin, size_t tag, size_t sign, bool strips_line) const {
    const std::string_view data = std::string_view(source_).substr(begin, tag - begin);
    const char c = sign < source_.size() ? source_[sign] : ' ';
    if (c == '-') return begin + strip_right(data).size();
    if (c == '+' || !strips_line) return tag;
    const size_t line = data.rfind('\n') + 1;  // 0 if there is none
    const bool at_line_start = line > 0 || begin == 0 || source_[begin - 1] == '\n';
    return at_line_start && strip_left(data.substr(line)).empty() ? begin + line : tag;
  }

  void advance_as_data(size_t end, size_t kept) {
    if (kept > at_) add(TokenKind::kData, source_.substr(at_, kept - at_));
    advance(end - at_);
  }

  /// Passes the end of a block, comment or raw section, and what its sign strips. False if it is not here.
  bool end_tag(std::string_view mark) {
    const bool signed_end = (next_is("-") || next_is("+")) && rest().substr(1).starts_with(mark);
    if (!signed_end && !next_is(mark)) return false;
    const char sign = signed_end ? source_[at_] : ' ';
    advance(mark.size() + signed_end);
    if (sign == '-') skip_space();
    if (sign == ' ' && next_is("\n")) advance(1);
    return true;
  }

  void comment() {
    advance(2);
    if (next_is("-") || next_is("+")) advance(1);
    const size_t found = source_.find("#}", at_);
    if (found == std::string::npos) fail("a comment {# has no end; expected #}");
    const bool has_sign = found > at_ && (source_[found - 1] == '-' || source_[found - 1] == '+');
    advance(found - has_sign - at_);
    end_tag("#}");
  }

  /// {% raw %} … {% endraw %}; false if another block starts here.
  bool raw() {
    const auto after_name = [&](size_t from, std::string_view name) {
      if (from < source_.size() && (source_[from] == '-' || source_[from] == '+')) ++from;
      const std::string_view text = strip_left(std::string_view(source_).substr(from));
      return text.starts_with(name) ? source_.size() - strip_left(text.substr(name.size())).size() : 0;
    };
    const size_t name_end = after_name(at_ + 2, "raw");
    if (name_end == 0) return false;
    const std::string_view end = std::string_view(source_).substr(name_end);
    if (!end.starts_with("%}") && !end.starts_with("-%}")) return false;
    advance(name_end + (end[0] == '-' ? 3 : 2) - at_);
    if (end[0] == '-') skip_space();
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != std::string::npos; tag += 2) {
      const size_t close = after_name(tag + 2, "endraw");
      if (close == 0) continue;
      const std::string_view mark = std::string_view(source_).substr(close);
      if (!mark.starts_with("%}") && !mark.starts_with("-%}") && !mark.starts_with("+%}")) continue;
      advance_as_data(tag, kept_until(at_, tag, tag + 2, true));
      advance(close - at_);
      end_tag("%}");
      return true;
    }
    fail("{% raw %} has no end; expected {% endraw %}");
  }

  void inside(bool block) {
    const int start = line_;
    std::string open;  // brackets
    for (;;) {
      if (open.empty() && block && end_tag("%}")) return add(TokenKind::kBlockEnd, "");
      if (open.empty() && !block && (next_is("}}") || next_is("-}}"))) {
        const bool strips = next_is("-");
        advance(strips ? 3 : 2);
        if (strips) skip_space();
        return add(TokenKind::kPrintEnd, "");
      }
      if (at_ == source_.size()) {
        line_ = start;
        fail(block ? "a block {% has no end; expected %}" : "an expression {{ has no end; expected }}");
      }
      if (const size_t space = rest().size() - strip_left(rest()).size()) {
        advance(space);
        continue;
      }
      token(open);
    }
  }

  void token(std::string& open) {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (starts_name(c)) {
      size_t end = at_;
      while (end < source_.size() && (starts_name(source_[end]) || is_digit(source_[end]))) ++end;
      add(TokenKind::kName, source_.substr(at_, end - at_));
      return advance(end - at_);
    }
    if (c == '"' || c == '\'') return string(c);
    const auto op = std::find_if(kOperators.begin(), kOperators.end(), [&](auto o) { return next_is(o); });
    if (op == kOperators.end() || *op == "!" || *op == "&") {
      fail(fmt::format("unexpected character {}", excerpt(rest().substr(0, 1))));
    }
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(fmt::format("\"{}\" closes no bracket", c));
      open.pop_back();
    }
    add(TokenKind::kOperator, std::string(*op));
    advance(op->size());
  }

  size_t digits_from(size_t at) const {
    while (at < source_.size() &&
           (is_digit(source_[at]) || (source_[at] == '_' && is_digit(source_[at - 1]))))
      ++at;
    return at;
  }

  void number() {
    size_t end = digits_from(at_);
    const auto digit_at = [&](size_t i) { return i < source_.size() && is_digit(source_[i]); };
    bool real = false;
    if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) {
      real = true;
      end = digits_from(end + 1);
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
      if (digit_at(end + 1 + sign)) {
        real = true;
        end = digits_from(end + 1 + sign);
      }
    }
    if (end < source_.size() && starts_name(source_[end]))
      fail("a number ends in letters; write it in decimal");
    add(real ? TokenKind::kFloat : TokenKind::kInteger, replace_all(source_.substr(at_, end - at_), "_", ""));
    advance(end - at_);
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail("a string has no closing quote");
    const std::string_view inner = std::string_view(source_).substr(at_ + 1, end - at_ - 1);
    add(TokenKind::kString, unescaped(inner));
    advance(end + 1 - at_);
  }

  /// Python's escapes.
  std::string unescaped(std::string_view text) const {
    constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeant = "\a\b\f\n\r\t\v\\'\"";
    std::string out;
    while (!text.empty()) {
      if (text[0] != '\\' || text.size() < 2) {
        out += text[0];
        text.remove_prefix(1);
        continue;
      }
      const char c = text[1];
      text.remove_prefix(2);
      if (const size_t at = kLetters.find(c); at != std::string_view::npos) {
        out += kMeant[at];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        append_point(out, code(text, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16));
      } else if (c >= '0' && c <= '7') {
        text = std::string_view(text.data() - 1, text.size() + 1);
        size_t count = 1;
        while (count < 3 && count < text.size() && text[count] >= '0' && text[count] <= '7') ++count;
        append_point(out, code(text, count, 8));
      } else if (c == 'N') {
        fail("\\N{…} in a string is not supported; write the character itself");
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  uint32_t code(std::string_view& text, size_t count, int base) const {
    const std::string digits(text.substr(0, count));
    const bool good =
        digits.size() == count && digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    const unsigned long value = good ? std::stoul(digits, nullptr, base) : 0x110000;
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
      fail("a string has an escape of no character");
    text.remove_prefix(count);
    return static_cast<uint32_t>(value);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(const std::string& source) {
  return Lexer(normalised(source)).run();
}

}  // namespace natrix::chat
