// Parser of expressions, with the precedence of jinja2 (which is not that of Python: ~ binds less than *).
#pragma once

#include <optional>
#include <string_view>

#include "core/chat/syntax.h"
#include "core/chat/token_stream.h"

namespace natrix::chat {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  /// `with_conditional`: whether "a if b else c" is allowed here; it is not after the "in" of a for.
  ExpressionPtr expression(bool with_conditional = true);
  /// An expression, or several with commas between them.
  ExpressionPtr tuple(bool with_conditional = true);
  /// The filters that follow `first`, which may be null (a {% filter %} block).
  ExpressionPtr filters(ExpressionPtr first);
  ExpressionPtr filter(ExpressionPtr first);

  /// Throws SyntaxFault if the expressions parsed since the last call have an unknown filter or test. jinja2 lets those
  /// pass inside of conditions, where a template may never come to them.
  void refuse_unknown();
  void allow_unknown() { unknown_.reset(); }

 private:
  ExpressionPtr any_of();
  ExpressionPtr all_of();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr parenthesised();
  ExpressionPtr postfix(ExpressionPtr first);
  ExpressionPtr subscript(ExpressionPtr first);
  ExpressionPtr test(ExpressionPtr first);
  void arguments(Expression& call);

  ExpressionPtr make(Op op, int line, std::string_view name = {}) const;
  ExpressionPtr binary(ExpressionPtr left, std::string_view op, ExpressionPtr right) const;
  bool at_tuple_end() const;

  TokenStream& tokens_;
  std::optional<SyntaxFault> unknown_;
};

}  // namespace natrix::chat
