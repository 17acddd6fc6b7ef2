#include "core/chat/token_stream.h"

#include <fmt/format.h>

#include "core/files/json.h"

namespace natrix::chat {
namespace {

std::string shown_token(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData: return "text";
    case TokenKind::kPrintBegin: return "{{";
    case TokenKind::kPrintEnd: return "}}";
    case TokenKind::kBlockBegin: return "{%";
    case TokenKind::kBlockEnd: return "%}";
    case TokenKind::kEnd: return "the end of the template";
    default: return excerpt(token.text);
  }
}

}  // namespace

Token TokenStream::take() {
  Token token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool TokenStream::take_operator(std::string_view text) {
  if (!at_operator(text)) return false;
  take();
  return true;
}

bool TokenStream::take_name(std::string_view text) {
  if (!at_name(text)) return false;
  take();
  return true;
}

void TokenStream::expect_operator(std::string_view text) {
  if (!take_operator(text)) fail_expected(excerpt(text));
}

std::string TokenStream::expect_name() {
  if (!at(TokenKind::kName)) fail_expected("a name");
  return take().text;
}

void TokenStream::fail_expected(std::string_view expected) const {
  throw SyntaxFault{fmt::format("expected {}, found {}", expected, shown_token(peek())), line()};
}

TokenStream::Level::Level(TokenStream& stream) : stream_(stream) {
  deeper();
}

void TokenStream::Level::deeper() {
  if (stream_.depth_ >= kMostSyntaxDepth) {
    stream_.depth_ -= levels_;  // a constructor that throws runs no destructor
    levels_ = 0;
    throw SyntaxFault{fmt::format("nested deeper than {} levels", kMostSyntaxDepth), stream_.line()};
  }
  ++levels_;
  ++stream_.depth_;
}

}  // namespace natrix::chat
