#include "core/chat/evaluator.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/chat/filters.h"
#include "core/chat/methods.h"
#include "core/chat/operators.h"
#include "core/chat/string_methods.h"
#include "core/chat/value_tests.h"
#include "core/files/json.h"

namespace natrix::chat {

Evaluator::Level::Level(Evaluator& evaluator) : evaluator_(evaluator) {
  if (evaluator_.depth_ >= kMostEvaluationDepth) {
    throw Fault(fmt::format("blocks, expressions and macro calls nested deeper than {} levels",
                            kMostEvaluationDepth));
  }
  ++evaluator_.depth_;
}

Value Evaluator::evaluate(const Expression& e, Scope& scope) {
  const Level level(*this);
  budget_.step();
  line_ = e.line;
  switch (e.op) {
    case Op::kConstant: return e.value;
    case Op::kName: return look_up(e.name, scope);
    case Op::kList: return Value::list(evaluate_all(e, 0, scope));
    case Op::kTuple: return Value::list(evaluate_all(e, 0, scope), ListKind::kTuple);
    case Op::kDict: return dictionary(e, scope);
    case Op::kAttribute:
    case Op::kSubscript:
    case Op::kSlice: return evaluate_part(e, scope);
    case Op::kCall: return call(e, scope);
    case Op::kFilter: return filtered(e, scope);
    case Op::kTest: {
      const Value value = evaluate(*e.args[0], scope);
      Arguments given = arguments(e, scope);
      line_ = e.line;
      return Value(run_value_test(e.name, value, given, budget_));
    }
    case Op::kConditional:
      if (truth(evaluate(*e.args[1], scope))) return evaluate(*e.args[0], scope);
      return e.args[2] ? evaluate(*e.args[2], scope) : Value(Undefined{"the else of an inline if"});
    case Op::kUnary:
    case Op::kBinary:
    case Op::kCompare:
    case Op::kConcat: return evaluate_operator(e, scope);
  }
  return Value();
}

Value Evaluator::evaluate_operator(const Expression& e, Scope& scope) {
  if (e.op == Op::kCompare) return comparison(e, scope);
  if (e.op == Op::kConcat) return Value::text(joined(evaluate_all(e, 0, scope), "", budget_));
  Value left = evaluate(*e.args[0], scope);
  if (e.op == Op::kUnary) return unary(e.name, left);
  if (e.name == "and") return truth(left) ? evaluate(*e.args[1], scope) : left;
  if (e.name == "or") return truth(left) ? left : evaluate(*e.args[1], scope);
  const Value right = evaluate(*e.args[1], scope);
  line_ = e.line;
  return arithmetic(e.name, left, right, budget_);
}

Value Evaluator::comparison(const Expression& e, Scope& scope) {
  Value left = evaluate(*e.args[0], scope);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.args[i + 1], scope);
    line_ = e.line;
    if (!compare(e.operators[i], left, right, budget_)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Evaluator::evaluate_part(const Expression& e, Scope& scope) {
  if (e.op == Op::kAttribute) {
    if (const Loop* loop = loop_of(*e.args[0], scope)) return loop_attribute(*loop, e.name);
  }
  const Value value = evaluate(*e.args[0], scope);
  if (e.op == Op::kAttribute) {
    line_ = e.line;
    return attribute(value, e.name, budget_);
  }
  std::array<Value, 3> keys = {Value(nullptr), Value(nullptr), Value(nullptr)};
  for (size_t i = 1; i < e.args.size(); ++i) {
    if (e.args[i]) keys[i - 1] = evaluate(*e.args[i], scope);
  }
  line_ = e.line;
  if (e.op == Op::kSubscript) return subscript(value, keys[0], budget_);
  return slice(value, keys[0], keys[1], keys[2], budget_);
}

Value Evaluator::dictionary(const Expression& e, Scope& scope) {
  Entries entries;
  for (size_t i = 0; i < e.args.size(); i += 2) {
    Value key = evaluate(*e.args[i], scope);
    if (key.dict() || (key.list() && key.list()->kind != ListKind::kTuple)) {
      throw Fault(fmt::format("{} cannot be a key", type_name(key)));
    }
    insert(entries, std::move(key), evaluate(*e.args[i + 1], scope), budget_);
  }
  return Value::dict(std::move(entries));
}

Value Evaluator::filtered(const Expression& e, Scope& scope) {
  Value value;
  if (e.args[0]) {
    value = evaluate(*e.args[0], scope);
  } else {
    value = *piped_;
  }
  Arguments given = arguments(e, scope);
  line_ = e.line;
  return run_filter(e.name, value, given, budget_);
}

Items Evaluator::evaluate_all(const Expression& e, size_t from, Scope& scope) {
  budget_.bytes(e.args.size() * sizeof(Value));
  Items items;
  for (size_t i = from; i < e.args.size(); ++i) items.push_back(evaluate(*e.args[i], scope));
  return items;
}

Arguments Evaluator::arguments(const Expression& call, Scope& scope) {
  Arguments given;
  given.positional = evaluate_all(call, 1, scope);
  for (const auto& [name, value] : call.named) given.named.emplace_back(name, evaluate(*value, scope));
  return given;
}

Value Evaluator::look_up(const std::string& name, const Scope& scope) const {
  for (const Scope* at = &scope; at; at = at->parent) {
    for (const auto& [key, value] : at->variables) {
      if (key == name) return value;
    }
    if (at->loop && name == "loop") throw Fault("\"loop\" is only supported as loop.index and the like");
  }
  if (is_global(name)) {
    return Value(
        std::make_shared<const Function>(Function{Callable::kGlobal, name, Value(), nullptr, nullptr}));
  }
  return Value(Undefined{excerpt(name)});
}

Value Evaluator::call(const Expression& e, Scope& scope, const Value* caller) {
  const Expression& callee = *e.args[0];
  Loop* loop = callee.op == Op::kAttribute ? loop_of(*callee.args[0], scope) : nullptr;
  const Value function = loop ? Value() : evaluate(callee, scope);
  Arguments given = arguments(e, scope);
  if (caller) given.named.emplace_back("caller", *caller);
  line_ = e.line;
  return loop ? call_loop(*loop, callee.name, given) : call(function, given);
}

Value Evaluator::call(const Value& function, Arguments& given) {
  const Function* f = function.function();
  if (!f) {
    require_defined(function);
    throw Fault(fmt::format("{} is called as a function", type_name(function)));
  }
  switch (f->kind) {
    case Callable::kMacro: return call_macro(*f, given);
    case Callable::kGlobal: return call_global(f->name, given);
    case Callable::kMethod: break;
  }
  return call_method(f->self, f->name, given, budget_);
}

Value Evaluator::call_macro(const Function& function, Arguments& given) {
  const Level level(*this);
  const Statement& macro = *function.macro;
  auto scope = std::make_unique<Scope>(Scope{function.scope});
  for (size_t i = 0; i < macro.targets.size(); ++i) {
    const std::string& name = macro.targets[i].name;
    const Value* value = given.take(i, name);
    if (value) {
      set(*scope, name, *value);
    } else if (macro.defaults[i]) {
      set(*scope, name, evaluate(*macro.defaults[i], *scope));
    } else {
      set(*scope, name, Value(Undefined{fmt::format("parameter {}", excerpt(name))}));
    }
  }
  if (const Value* caller = given.take(SIZE_MAX, "caller")) set(*scope, "caller", *caller);
  given.finish();
  std::string out = buffered(macro.body, *scope);
  keep(std::move(scope));
  return Value::text(std::move(out));
}

}  // namespace natrix::chat
