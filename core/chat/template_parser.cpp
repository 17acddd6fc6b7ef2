#include "core/chat/template_parser.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/chat/expression_parser.h"
#include "core/chat/token_stream.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

using Level = TokenStream::Level;

class TemplateParser {
 public:
  explicit TemplateParser(const std::string& source) : tokens_(tokenize(source)), expressions_(tokens_) {}

  Body run() { return body({}); }

 private:
  /// Statements up to a block whose name is one of `ends` (at its name then), or to the end of the template.
  Body body(const std::vector<std::string>& ends) {
    Level level(tokens_);
    Body statements;
    for (;;) {
      if (tokens_.at(TokenKind::kEnd)) {
        if (!ends.empty()) tokens_.fail_expected(fmt::format("{{% {} %}}", fmt::join(ends, " %} or {% ")));
        return statements;
      }
      const Token token = tokens_.take();
      if (token.kind == TokenKind::kData) {
        statements.push_back({.tag = Tag::kData, .line = token.line, .name = token.text});
      } else if (token.kind == TokenKind::kPrintBegin) {
        statements.push_back(
            {.tag = Tag::kPrint, .line = token.line, .value = checked(expressions_.tuple())});
        if (!tokens_.at(TokenKind::kPrintEnd)) tokens_.fail_expected("}}");
        tokens_.take();
      } else {
        const std::string name = tokens_.peek().text;
        if (tokens_.at(TokenKind::kName) && std::find(ends.begin(), ends.end(), name) != ends.end())
          return statements;
        statements.push_back(block());
      }
    }
  }

  ExpressionPtr checked(ExpressionPtr expression) {
    if (in_condition_) {
      expressions_.allow_unknown();
    } else {
      expressions_.refuse_unknown();
    }
    return expression;
  }

  void end_block() {
    if (!tokens_.at(TokenKind::kBlockEnd)) tokens_.fail_expected("%}");
    tokens_.take();
  }

  /// The body of a block and its end tag. `in_condition`: whether unknown filters are let pass in it.
  Body closed_body(const std::string& end, bool in_condition = false) {
    const bool outer = std::exchange(in_condition_, in_condition);
    end_block();
    Body statements = body({end});
    tokens_.take();
    end_block();
    in_condition_ = outer;
    return statements;
  }

  Statement block() {
    const Token name = tokens_.peek();
    Statement statement{.tag = Tag::kBreak, .line = name.line};
    if (tokens_.expect_name() == "if") return if_block(statement.line);
    if (name.text == "for") return for_block(std::move(statement));
    if (name.text == "set") return set_block(std::move(statement));
    if (name.text == "macro") return macro_block(std::move(statement));
    if (name.text == "call") return call_block(std::move(statement));
    if (name.text == "filter") return filter_block(std::move(statement));
    if (name.text == "with") return with_block(std::move(statement));
    if (name.text == "generation") {
      statement.tag = Tag::kGeneration;
      const int loops = std::exchange(loops_, 0);
      statement.body = closed_body("endgeneration");
      loops_ = loops;
      return statement;
    }
    if (name.text == "break" || name.text == "continue") {
      statement.tag = name.text == "break" ? Tag::kBreak : Tag::kContinue;
      if (loops_ == 0) throw SyntaxFault{fmt::format("{{% {} %}} outside of a loop", name.text), name.line};
      end_block();
      return statement;
    }
    throw SyntaxFault{
        fmt::format("unknown tag {}; docs/chat.md lists the tags that natrix knows", excerpt(name.text)),
        name.line};
  }

  Statement if_block(int line) {
    Statement first{.tag = Tag::kIf, .line = line};
    Level level(tokens_);
    const bool outer = std::exchange(in_condition_, true);
    first.value = checked(expressions_.tuple(false));
    end_block();
    first.body = body({"elif", "else", "endif"});
    const Token end = tokens_.take();
    if (end.text == "elif") {
      first.otherwise.push_back(if_block(end.line));  // takes the endif
      in_condition_ = outer;
      return first;
    }
    if (end.text == "else") {
      end_block();
      first.otherwise = body({"endif"});
      tokens_.take();
    }
    end_block();
    in_condition_ = outer;
    return first;
  }

  /// Names with commas between them; `with_members`: a.b is allowed.
  void targets(Statement& statement, bool with_members) {
    const bool bracket = tokens_.take_operator("(");
    do {
      if (!statement.targets.empty() && (tokens_.at_name("in") || tokens_.at_operator("=")))
        break;  // after a comma at the end
      Target target{tokens_.expect_name(), {}};
      if (with_members && tokens_.take_operator(".")) target.member = tokens_.expect_name();
      statement.targets.push_back(std::move(target));
      if (tokens_.at_operator(",")) statement.unpack = true;
    } while (tokens_.take_operator(","));
    if (bracket) tokens_.expect_operator(")");
  }

  Statement for_block(Statement loop) {
    loop.tag = Tag::kFor;
    targets(loop, false);
    if (!tokens_.take_name("in")) tokens_.fail_expected("\"in\"");
    loop.value = checked(expressions_.tuple(false));
    if (tokens_.take_name("if")) loop.condition = checked(expressions_.expression());
    if (tokens_.at_name("recursive")) throw SyntaxFault{"recursive loops are not supported", tokens_.line()};
    end_block();
    const bool outer = std::exchange(in_condition_, false);
    ++loops_;
    loop.body = body({"else", "endfor"});
    --loops_;
    if (tokens_.take().text == "else") {
      end_block();
      loop.otherwise = body({"endfor"});
      tokens_.take();
    }
    end_block();
    in_condition_ = outer;
    return loop;
  }

  Statement set_block(Statement set) {
    set.tag = Tag::kSet;
    targets(set, true);
    if (tokens_.take_operator("=")) {
      set.value = checked(expressions_.tuple());
      end_block();
      return set;
    }
    if (tokens_.take_operator("|")) {
      set.condition = checked(expressions_.filters(expressions_.filter(nullptr)));
    }
    set.body = closed_body("endset");
    return set;
  }

  /// (a, b=1)
  void signature(Statement& statement) {
    tokens_.expect_operator("(");
    while (!tokens_.take_operator(")")) {
      if (!statement.targets.empty()) tokens_.expect_operator(",");
      statement.targets.push_back({tokens_.expect_name(), {}});
      if (tokens_.take_operator("=")) {
        statement.defaults.push_back(checked(expressions_.expression()));
      } else if (statement.defaults.empty() || !statement.defaults.back()) {
        statement.defaults.push_back(nullptr);
      } else {
        tokens_.fail_expected("a default value, as the parameter before has one");
      }
    }
  }

  /// The body of a function: a loop around it is not its own.
  Body function_body(const std::string& end) {
    const int loops = std::exchange(loops_, 0);
    Body statements = closed_body(end);
    loops_ = loops;
    return statements;
  }

  Statement macro_block(Statement macro) {
    macro.tag = Tag::kMacro;
    macro.name = tokens_.expect_name();
    signature(macro);
    macro.body = function_body("endmacro");
    return macro;
  }

  Statement call_block(Statement call) {
    call.tag = Tag::kCall;
    call.name = "caller";
    if (tokens_.at_operator("(")) signature(call);
    call.value = checked(expressions_.expression());
    if (call.value->op != Op::kCall) tokens_.fail_expected("a call of a macro");
    call.body = function_body("endcall");
    return call;
  }

  Statement filter_block(Statement filter) {
    filter.tag = Tag::kFilter;
    filter.value = checked(expressions_.filters(expressions_.filter(nullptr)));
    filter.body = closed_body("endfilter");
    return filter;
  }

  Statement with_block(Statement with) {
    with.tag = Tag::kWith;
    while (!tokens_.at(TokenKind::kBlockEnd)) {
      if (!with.targets.empty()) tokens_.expect_operator(",");
      with.targets.push_back({tokens_.expect_name(), {}});
      tokens_.expect_operator("=");
      with.defaults.push_back(checked(expressions_.expression()));
    }
    with.body = closed_body("endwith");
    return with;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  bool in_condition_ = false;
  int loops_ = 0;
};

}  // namespace

Body parse_template(const std::string& source) {
  if (source.size() > kMostSourceBytes) {
    throw SyntaxFault{
        fmt::format("a template of {} bytes; at most {} are read", source.size(), kMostSourceBytes), 1};
  }
  return TemplateParser(source).run();
}

}  // namespace natrix::chat
