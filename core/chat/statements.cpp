#include <algorithm>
#include <fmt/format.h>

#include "core/chat/evaluator.h"
#include "core/chat/printing.h"
#include "core/files/json.h"

namespace natrix::chat {

std::string Evaluator::render(const Body& body) {
  std::string out;
  result_ = &out;
  run(body, root_, out);
  return out;
}

Evaluator::Flow Evaluator::run(const Body& body, Scope& scope, std::string& out) {
  const Level level(*this);
  for (const Statement& statement : body) {
    const Flow flow = run(statement, scope, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::run(const Statement& s, Scope& scope, std::string& out) {
  budget_.step();
  line_ = s.line;
  switch (s.tag) {
    case Tag::kData: write(s.name, out); break;
    case Tag::kPrint: write(to_text(evaluate(*s.value, scope), budget_), out); break;
    case Tag::kIf: return run(truth(evaluate(*s.value, scope)) ? s.body : s.otherwise, scope, out);
    case Tag::kFor: return run_for(s, scope, out);
    case Tag::kSet: run_set(s, scope); break;
    case Tag::kMacro:
      capture(scope);
      set(scope, s.name,
          Value(std::make_shared<const Function>(Function{Callable::kMacro, s.name, Value(), &s, &scope})));
      break;
    case Tag::kCall: run_call(s, scope, out); break;
    case Tag::kFilter: {
      const Value text = Value::text(buffered(s.body, scope));
      const Value* outer = std::exchange(piped_, &text);
      write(to_text(evaluate(*s.value, scope), budget_), out);
      piped_ = outer;
      break;
    }
    case Tag::kWith: {
      auto inner = std::make_unique<Scope>(Scope{&scope});
      for (size_t i = 0; i < s.targets.size(); ++i)
        set(*inner, s.targets[i].name, evaluate(*s.defaults[i], scope));
      const Flow flow = run(s.body, *inner, out);
      keep(std::move(inner));
      return flow;
    }
    case Tag::kGeneration: return run_generation(s, scope, out);
    case Tag::kBreak: return Flow::kBreak;
    case Tag::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::run_for(const Statement& loop, Scope& scope, std::string& out) {
  Items items = iterate(evaluate(*loop.value, scope), budget_);
  if (loop.condition) {
    Items chosen;
    for (Value& item : items) {
      Scope inner{&scope};
      assign(loop, item, inner);
      if (truth(evaluate(*loop.condition, inner))) chosen.push_back(std::move(item));
    }
    items = std::move(chosen);
  }
  if (items.empty()) return run_inner(loop.otherwise, scope, out);
  Loop place{&items, 0, {}};
  for (; place.at < static_cast<int64_t>(items.size()); ++place.at) {
    auto inner = std::make_unique<Scope>(Scope{&scope});
    inner->loop = &place;
    assign(loop, items[static_cast<size_t>(place.at)], *inner);
    const Flow flow = run(loop.body, *inner, out);
    inner->loop = inner->captured ? nullptr : &place;  // a macro may outlive the loop
    keep(std::move(inner));
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::run_inner(const Body& body, Scope& scope, std::string& out) {
  auto inner = std::make_unique<Scope>(Scope{&scope});
  const Flow flow = run(body, *inner, out);
  keep(std::move(inner));
  return flow;
}

Evaluator::Flow Evaluator::run_generation(const Statement& generation, Scope& scope, std::string& out) {
  const size_t begin = out.size();
  const Flow flow = run_inner(generation.body, scope, out);
  if (&out != result_) {
    generated_elsewhere_ = true;
  } else if (out.size() > begin) {
    generated_.emplace_back(begin, out.size());
  }
  return flow;
}

void Evaluator::run_set(const Statement& s, Scope& scope) {
  if (s.value) return assign(s, evaluate(*s.value, scope), scope);
  Value text = Value::text(buffered(s.body, scope));
  if (s.condition) {
    const Value* outer = std::exchange(piped_, &text);
    Value filtered_text = evaluate(*s.condition, scope);
    piped_ = outer;
    text = std::move(filtered_text);
  }
  assign(s, std::move(text), scope);
}

void Evaluator::run_call(const Statement& s, Scope& scope, std::string& out) {
  capture(scope);
  const Value caller(
      std::make_shared<const Function>(Function{Callable::kMacro, s.name, Value(), &s, &scope}));
  write(to_text(call(*s.value, scope, &caller), budget_), out);
}

void Evaluator::write(std::string_view text, std::string& out) {
  budget_.bytes(text.size());
  if (out.size() + text.size() > kMostTextBytes) {
    throw Fault(fmt::format("an output of more than {} bytes", kMostTextBytes));
  }
  out += text;
}

std::string Evaluator::buffered(const Body& body, Scope& scope) {
  std::string out;
  run_inner(body, scope, out);
  return out;
}

void Evaluator::assign(const Statement& statement, Value value, Scope& scope) {
  const auto& targets = statement.targets;
  if (!statement.unpack) return assign(targets[0], std::move(value), scope);
  require_defined(value);
  Items items = iterate(value, budget_);
  if (items.size() != targets.size()) {
    throw Fault(fmt::format("{} values for {} names", items.size(), targets.size()));
  }
  for (size_t i = 0; i < targets.size(); ++i) assign(targets[i], std::move(items[i]), scope);
}

void Evaluator::assign(const Target& target, Value value, Scope& scope) {
  if (target.member.empty()) return set(scope, target.name, std::move(value));
  Namespace* space = look_up(target.name, scope).space();
  if (!space)
    throw Fault(fmt::format("{} is no namespace, so nothing in it can be set", excerpt(target.name)));
  for (auto& [name, held] : space->members) {
    if (name == target.member) {
      held = std::move(value);
      return;
    }
  }
  space->members.emplace_back(target.member, std::move(value));
}

void Evaluator::set(Scope& scope, std::string name, Value value) {
  for (auto& [key, held] : scope.variables) {
    if (key == name) {
      held = std::move(value);
      return;
    }
  }
  scope.variables.emplace_back(std::move(name), std::move(value));
}

void Evaluator::capture(Scope& scope) {
  for (Scope* at = &scope; at && !at->captured; at = at->parent) at->captured = true;
}

void Evaluator::keep(std::unique_ptr<Scope> scope) {
  if (!scope->captured) return;
  budget_.bytes(sizeof(Scope) + scope->variables.size() * sizeof(scope->variables[0]));
  kept_.push_back(std::move(scope));
}

}  // namespace natrix::chat
