// Splits a template into tokens, as jinja2 does with trim_blocks and lstrip_blocks (transformers sets both).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace natrix::chat {

enum class TokenKind {
  kData,        // text outside of tags, whitespace control applied
  kPrintBegin,  // {{
  kPrintEnd,    // }}
  kBlockBegin,  // {%
  kBlockEnd,    // %}
  kName,
  kString,  // escapes resolved
  kInteger,
  kFloat,
  kOperator,
  kEnd  // of the template
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;
};

/// A Fault with its line.
struct SyntaxFault {
  std::string message;
  int line;
};

/// SyntaxFault for what is not a token. The last token is kEnd.
std::vector<Token> tokenize(const std::string& source);

}  // namespace natrix::chat
