// TokenStream: the tokens of a template, for the parsers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/chat/lexer.h"
#include "core/chat/limits.h"

namespace natrix::chat {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  /// `ahead` tokens after the next one; the last token is kEnd, however far ahead.
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take();
  int line() const { return peek().line; }

  bool at(TokenKind kind) const { return peek().kind == kind; }
  bool at_operator(std::string_view text) const { return at(TokenKind::kOperator) && peek().text == text; }
  bool at_name(std::string_view text) const { return at(TokenKind::kName) && peek().text == text; }
  bool take_operator(std::string_view text);
  bool take_name(std::string_view text);
  void expect_operator(std::string_view text);
  std::string expect_name();
  /// Throws SyntaxFault "expected …, found …".
  [[noreturn]] void fail_expected(std::string_view expected) const;

  /// One level of syntax; while it lives, deeper ones add to it.
  class Level {
   public:
    explicit Level(TokenStream& stream);
    ~Level() { stream_.depth_ -= levels_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    /// A loop of the parser makes the tree deeper too.
    void deeper();

   private:
    TokenStream& stream_;
    int levels_ = 0;
  };

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace natrix::chat
