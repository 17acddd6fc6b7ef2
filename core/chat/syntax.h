// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/chat/value.h"

namespace natrix::chat {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class Op {
  kConstant,     // value
  kName,         // name
  kList,         // args
  kTuple,        // args
  kDict,         // args: key, value, key, value …
  kAttribute,    // args[0].name
  kSubscript,    // args[0][args[1]]
  kSlice,        // args[0][args[1]:args[2]:args[3]], each of the last three may be null
  kCall,         // args[0](args[1] …, named …)
  kFilter,       // args[0] | name(args[1] …, named …)
  kTest,         // args[0] is name(args[1] …)
  kUnary,        // name args[0]; name is "-", "+" or "not"
  kBinary,       // args[0] name args[1]; name is the operator
  kCompare,      // args[0] operators[0] args[1] operators[1] args[2] …
  kConcat,       // args joined by ~
  kConditional,  // args[0] if args[1] else args[2], which may be null
};

struct Expression {
  Op op;
  int line;
  std::string name;
  Value value;
  std::vector<ExpressionPtr> args;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
};

struct Statement;
using Body = std::vector<Statement>;

enum class Tag {
  kData,        // name is the text
  kPrint,       // value
  kIf,          // value, body; otherwise (an elif is an if there)
  kFor,         // targets in value, if condition; body; otherwise
  kSet,         // targets = value, or the rendered body if value is null
  kMacro,       // name, targets and defaults, body
  kCall,        // value is the call; targets, defaults and body are those of caller()
  kFilter,      // value is a filter whose args[0] is null: it gets the rendered body
  kWith,        // targets[i] = defaults[i]; body
  kGeneration,  // body: what the assistant wrote
  kBreak,
  kContinue
};

struct Target {
  std::string name;
  std::string member;  // of a namespace; empty for a variable
};

struct Statement {
  Tag tag;
  int line;
  std::string name = {};
  ExpressionPtr value = nullptr, condition = nullptr;
  std::vector<Target> targets = {};
  bool unpack = false;                       // targets form a tuple
  std::vector<ExpressionPtr> defaults = {};  // of the last targets; a null one for each before
  Body body = {}, otherwise = {};
};

}  // namespace natrix::chat
