#include "core/chat/expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

#include "core/chat/filters.h"
#include "core/chat/value_tests.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

using Level = TokenStream::Level;

ExpressionPtr number(const Token& token) {
  auto node = std::make_unique<Expression>(Expression{Op::kConstant, token.line, {}, {}, {}, {}, {}});
  const char *begin = token.text.data(), *end = begin + token.text.size();
  if (token.kind == TokenKind::kFloat) {
    node->value = Value(std::strtod(begin, nullptr));
    return node;
  }
  int64_t value = 0;
  if (std::from_chars(begin, end, value).ec != std::errc()) {
    throw SyntaxFault{fmt::format("{} does not fit 64 bits", excerpt(token.text)), token.line};
  }
  node->value = Value(value);
  return node;
}

}  // namespace

void ExpressionParser::refuse_unknown() {
  if (unknown_) throw SyntaxFault(*unknown_);
}

ExpressionPtr ExpressionParser::make(Op op, int line, std::string_view name) const {
  return std::make_unique<Expression>(Expression{op, line, std::string(name), {}, {}, {}, {}});
}

ExpressionPtr ExpressionParser::binary(ExpressionPtr left, std::string_view op, ExpressionPtr right) const {
  ExpressionPtr node = make(Op::kBinary, left->line, op);
  node->args.push_back(std::move(left));
  node->args.push_back(std::move(right));
  return node;
}

ExpressionPtr ExpressionParser::expression(bool with_conditional) {
  Level level(tokens_);
  if (!with_conditional) return any_of();
  const std::optional<SyntaxFault> unknown_before = unknown_;
  ExpressionPtr node = any_of();
  while (tokens_.at_name("if")) {
    level.deeper();
    ExpressionPtr conditional = make(Op::kConditional, tokens_.take().line);
    conditional->args.push_back(std::move(node));
    conditional->args.push_back(any_of());
    conditional->args.push_back(tokens_.take_name("else") ? expression() : nullptr);
    unknown_ = unknown_before;
    node = std::move(conditional);
  }
  return node;
}

bool ExpressionParser::at_tuple_end() const {
  return tokens_.at(TokenKind::kPrintEnd) || tokens_.at(TokenKind::kBlockEnd) || tokens_.at_operator(")") ||
         tokens_.at_operator("=") || tokens_.at_name("in");
}

ExpressionPtr ExpressionParser::tuple(bool with_conditional) {
  ExpressionPtr first = expression(with_conditional);
  if (!tokens_.at_operator(",")) return first;
  ExpressionPtr node = make(Op::kTuple, first->line);
  node->args.push_back(std::move(first));
  while (tokens_.take_operator(",") && !at_tuple_end()) node->args.push_back(expression(with_conditional));
  return node;
}

ExpressionPtr ExpressionParser::any_of() {
  Level level(tokens_);
  ExpressionPtr node = all_of();
  while (tokens_.take_name("or")) {
    level.deeper();
    node = binary(std::move(node), "or", all_of());
  }
  return node;
}

ExpressionPtr ExpressionParser::all_of() {
  Level level(tokens_);
  ExpressionPtr node = negation();
  while (tokens_.take_name("and")) {
    level.deeper();
    node = binary(std::move(node), "and", negation());
  }
  return node;
}

ExpressionPtr ExpressionParser::negation() {
  if (!tokens_.at_name("not")) return comparison();
  Level level(tokens_);
  ExpressionPtr node = make(Op::kUnary, tokens_.take().line, "not");
  node->args.push_back(negation());
  return node;
}

ExpressionPtr ExpressionParser::comparison() {
  constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  ExpressionPtr node = make(Op::kCompare, tokens_.line());
  node->args.push_back(sum());
  for (;;) {
    const auto op =
        std::find_if(kOperators.begin(), kOperators.end(), [&](auto o) { return tokens_.at_operator(o); });
    if (op != kOperators.end()) {
      node->operators.emplace_back(*op);
    } else if (tokens_.at_name("in")) {
      node->operators.emplace_back("in");
    } else if (tokens_.at_name("not") && tokens_.peek(1).kind == TokenKind::kName &&
               tokens_.peek(1).text == "in") {
      tokens_.take();
      node->operators.emplace_back("not in");
    } else {
      break;
    }
    tokens_.take();
    node->args.push_back(sum());
  }
  return node->operators.empty() ? std::move(node->args[0]) : std::move(node);
}

ExpressionPtr ExpressionParser::sum() {
  Level level(tokens_);
  ExpressionPtr node = concatenation();
  while (tokens_.at_operator("+") || tokens_.at_operator("-")) {
    level.deeper();
    const std::string op = tokens_.take().text;
    node = binary(std::move(node), op, concatenation());
  }
  return node;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr first = product();
  if (!tokens_.at_operator("~")) return first;
  ExpressionPtr node = make(Op::kConcat, first->line);
  node->args.push_back(std::move(first));
  while (tokens_.take_operator("~")) node->args.push_back(product());
  return node;
}

ExpressionPtr ExpressionParser::product() {
  Level level(tokens_);
  ExpressionPtr node = power();
  while (tokens_.at_operator("*") || tokens_.at_operator("/") || tokens_.at_operator("//") ||
         tokens_.at_operator("%")) {
    level.deeper();
    const std::string op = tokens_.take().text;
    node = binary(std::move(node), op, power());
  }
  return node;
}

ExpressionPtr ExpressionParser::power() {
  Level level(tokens_);
  ExpressionPtr node = unary();
  while (tokens_.take_operator("**")) {
    level.deeper();
    node = binary(std::move(node), "**", unary());
  }
  return node;
}

ExpressionPtr ExpressionParser::unary(bool with_filter) {
  Level level(tokens_);
  ExpressionPtr node;
  if (tokens_.at_operator("-") || tokens_.at_operator("+")) {
    const Token sign = tokens_.take();
    node = make(Op::kUnary, sign.line, sign.text);
    node->args.push_back(unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filters(std::move(node)) : std::move(node);
}

ExpressionPtr ExpressionParser::primary() {
  const Token token = tokens_.peek();
  ExpressionPtr node = make(Op::kConstant, token.line);
  switch (token.kind) {
    case TokenKind::kName:
      tokens_.take();
      if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
        node->value = Value(token.text == "true" || token.text == "True");
      } else if (token.text == "none" || token.text == "None") {
        node->value = Value(nullptr);
      } else {
        node->op = Op::kName;
        node->name = token.text;
      }
      return node;
    case TokenKind::kString: {
      std::string joined;  // neighbours are one string
      while (tokens_.at(TokenKind::kString)) joined += tokens_.take().text;
      node->value = Value::text(std::move(joined));
      return node;
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat: return number(tokens_.take());
    default: break;
  }
  if (tokens_.take_operator("(")) return parenthesised();
  if (tokens_.take_operator("[")) return list();
  if (tokens_.take_operator("{")) return dict();
  tokens_.fail_expected("an expression");
}

ExpressionPtr ExpressionParser::parenthesised() {
  const int line = tokens_.line();
  if (tokens_.take_operator(")")) return make(Op::kTuple, line);
  ExpressionPtr node = tuple();
  tokens_.expect_operator(")");
  return node;
}

ExpressionPtr ExpressionParser::list() {
  ExpressionPtr node = make(Op::kList, tokens_.line());
  while (!tokens_.take_operator("]")) {
    if (!node->args.empty()) tokens_.expect_operator(",");
    if (tokens_.take_operator("]")) break;
    node->args.push_back(expression());
  }
  return node;
}

ExpressionPtr ExpressionParser::dict() {
  ExpressionPtr node = make(Op::kDict, tokens_.line());
  while (!tokens_.take_operator("}")) {
    if (!node->args.empty()) tokens_.expect_operator(",");
    if (tokens_.take_operator("}")) break;
    node->args.push_back(expression());
    tokens_.expect_operator(":");
    node->args.push_back(expression());
  }
  return node;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr node) {
  Level level(tokens_);
  for (;; level.deeper()) {
    const int line = tokens_.line();
    if (tokens_.take_operator(".")) {
      const bool index = tokens_.at(TokenKind::kInteger);
      ExpressionPtr part = make(index ? Op::kSubscript : Op::kAttribute, line);
      part->args.push_back(std::move(node));
      if (index) {
        part->args.push_back(number(tokens_.take()));
      } else {
        part->name = tokens_.expect_name();
      }
      node = std::move(part);
    } else if (tokens_.take_operator("[")) {
      node = subscript(std::move(node));
    } else if (tokens_.at_operator("(")) {
      ExpressionPtr call = make(Op::kCall, line);
      call->args.push_back(std::move(node));
      arguments(*call);
      node = std::move(call);
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr first) {
  ExpressionPtr node = make(Op::kSubscript, tokens_.line());
  node->args.push_back(std::move(first));
  const auto at_part_end = [&] { return tokens_.at_operator(":") || tokens_.at_operator("]"); };
  node->args.push_back(at_part_end() ? nullptr : expression());
  while (node->args.size() < 4 && tokens_.take_operator(":")) {
    node->op = Op::kSlice;
    node->args.push_back(at_part_end() ? nullptr : expression());
  }
  if (node->op == Op::kSubscript && !node->args[1]) tokens_.fail_expected("an index or a slice");
  if (node->op == Op::kSlice) node->args.resize(4);
  tokens_.expect_operator("]");
  return node;
}

void ExpressionParser::arguments(Expression& call) {
  tokens_.expect_operator("(");
  for (bool first = true; !tokens_.take_operator(")"); first = false) {
    if (!first) tokens_.expect_operator(",");
    if (tokens_.take_operator(")")) return;
    if (tokens_.at_operator("*") || tokens_.at_operator("**")) {
      throw SyntaxFault{"arguments of the form *list and **object are not supported", tokens_.line()};
    }
    const Token& after = tokens_.peek(1);
    if (tokens_.at(TokenKind::kName) && after.kind == TokenKind::kOperator && after.text == "=") {
      std::string name = tokens_.take().text;
      tokens_.take();
      call.named.emplace_back(std::move(name), expression());
    } else if (call.named.empty()) {
      call.args.push_back(expression());
    } else {
      tokens_.fail_expected("an argument with a name");
    }
  }
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr node) {
  Level level(tokens_);
  for (;; level.deeper()) {
    if (tokens_.take_operator("|")) {
      node = filter(std::move(node));
    } else if (tokens_.at_name("is")) {
      tokens_.take();
      node = test(std::move(node));
    } else if (tokens_.at_operator("(")) {
      node = postfix(std::move(node));
    } else {
      return node;
    }
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr first) {
  ExpressionPtr node = make(Op::kFilter, tokens_.line(), tokens_.expect_name());
  while (tokens_.take_operator(".")) node->name += "." + tokens_.expect_name();
  if (!unknown_ && !is_filter(node->name)) unknown_ = SyntaxFault{unknown_filter(node->name), node->line};
  node->args.push_back(std::move(first));
  if (tokens_.at_operator("(")) arguments(*node);
  return node;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr first) {
  const bool negated = tokens_.take_name("not");
  ExpressionPtr node = make(Op::kTest, tokens_.line(), tokens_.expect_name());
  while (tokens_.take_operator(".")) node->name += "." + tokens_.expect_name();
  if (!unknown_ && !is_value_test(node->name))
    unknown_ = SyntaxFault{unknown_value_test(node->name), node->line};
  node->args.push_back(std::move(first));
  const auto at_argument = [&] {
    switch (tokens_.peek().kind) {
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat: return true;
      case TokenKind::kName:
        return !tokens_.at_name("else") && !tokens_.at_name("or") && !tokens_.at_name("and") &&
               !tokens_.at_name("is") && !tokens_.at_name("if") && !tokens_.at_name("in") &&
               !tokens_.at_name("not");
      default: return tokens_.at_operator("[") || tokens_.at_operator("{");
    }
  };
  if (tokens_.at_operator("(")) {
    arguments(*node);
  } else if (at_argument()) {
    node->args.push_back(postfix(primary()));
  }
  if (!negated) return node;
  ExpressionPtr opposite = make(Op::kUnary, node->line, "not");
  opposite->args.push_back(std::move(node));
  return opposite;
}

}  // namespace natrix::chat
