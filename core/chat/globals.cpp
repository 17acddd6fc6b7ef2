#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>

#include "core/chat/evaluator.h"
#include "core/chat/operators.h"
#include "core/chat/printing.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

constexpr std::array<std::string_view, 8> kGlobals = {
    "raise_exception", "strftime_now", "namespace", "range", "dict", "cycler", "joiner", "lipsum"};

Value range(Arguments& arguments, Budget& budget) {
  const Value *first = arguments.take(0), *second = arguments.take(1), *third = arguments.take(2);
  arguments.finish();
  if (!first) throw Fault("range() without an argument");
  const int64_t start = second ? need_integer(*first, "start") : 0;
  const int64_t stop = need_integer(second ? *second : *first, "stop");
  const int64_t step = third ? need_integer(*third, "step") : 1;
  if (step == 0) throw Fault("range() with a step of 0");
  Items items;
  for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
    if (static_cast<int64_t>(items.size()) == kMostRange) {
      throw Fault(fmt::format("a range of more than {} items", kMostRange));
    }
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  budget.bytes(items.size() * sizeof(Value));
  return Value::list(std::move(items), ListKind::kRange);
}

/// The entries of namespace({…}, a=1) and dict({…}, a=1), also of a list of pairs.
Entries entries_of(Arguments& arguments, Budget& budget) {
  Entries entries;
  if (const Value* first = arguments.take(0)) {
    require_defined(*first);
    if (first->dict()) {
      entries = first->dict()->entries;
    } else {
      for (const Value& pair : iterate(*first, budget)) {
        const Items two = iterate(pair, budget);
        if (two.size() != 2) throw Fault("a pair of key and value that has not two items");
        insert(entries, two[0], two[1], budget);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) {
    arguments.take(SIZE_MAX, name);
    insert(entries, Value::text(name), value, budget);
  }
  arguments.finish();
  return entries;
}

}  // namespace

bool Evaluator::is_global(std::string_view name) {
  return std::find(kGlobals.begin(), kGlobals.end(), name) != kGlobals.end();
}

Value Evaluator::call_global(std::string_view name, Arguments& arguments) {
  if (name == "raise_exception") {
    const Value& message = arguments.need(0, "message");
    throw Fault(fmt::format("the template refuses the conversation: {}", to_text(message, budget_)));
  }
  if (name == "range") return range(arguments, budget_);
  if (name == "dict") return Value::dict(entries_of(arguments, budget_));
  if (name == "namespace") return make_namespace(arguments);
  if (name == "strftime_now") return strftime_now(arguments);
  throw Fault(fmt::format("{}() is not supported", name));
}

Value Evaluator::make_namespace(Arguments& arguments) {
  Namespace space;
  for (const auto& [key, value] : entries_of(arguments, budget_)) {
    space.members.emplace_back(need_text(key, "a name in a namespace"), value);
  }
  budget_.bytes(sizeof space + space.members.size() * sizeof space.members[0]);
  return Value(&spaces_.emplace_back(std::move(space)));
}

Value Evaluator::strftime_now(Arguments& arguments) const {
  const std::string format = need_text(arguments.need(0, "format"), "format");
  arguments.finish();
  const std::time_t seconds = now_ ? static_cast<std::time_t>(*now_) : std::time(nullptr);
  std::tm local{};
  localtime_r(&seconds, &local);
  // One character of a format yields at most a few dozen, and strftime() returns 0 for an empty text too: a space
  // in front tells that from a buffer that is too small.
  if (static_cast<int64_t>(format.size()) > kMostWidth) throw Fault("a format of a date that is too long");
  std::string text(format.size() * 64 + 64, '\0');
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const size_t size = std::strftime(text.data(), text.size(), (" " + format).c_str(), &local);
#pragma GCC diagnostic pop
  if (size == 0) throw Fault(fmt::format("a date in the format {}", excerpt(format)));
  return Value::text(text.substr(1, size - 1));
}

Loop* Evaluator::loop_of(const Expression& e, const Scope& scope) {
  if (e.op != Op::kName || e.name != "loop") return nullptr;
  for (const Scope* at = &scope; at; at = at->parent) {
    if (at->loop) return at->loop;
  }
  return nullptr;
}

Value Evaluator::loop_attribute(const Loop& loop, std::string_view name) const {
  const auto size = static_cast<int64_t>(loop.items->size());
  const auto item = [&](int64_t at, const char* what) {
    return at >= 0 && at < size ? (*loop.items)[static_cast<size_t>(at)] : Value(Undefined{what});
  };
  if (name == "index") return Value(loop.at + 1);
  if (name == "index0") return Value(loop.at);
  if (name == "revindex") return Value(size - loop.at);
  if (name == "revindex0") return Value(size - loop.at - 1);
  if (name == "first") return Value(loop.at == 0);
  if (name == "last") return Value(loop.at == size - 1);
  if (name == "length") return Value(size);
  if (name == "previtem") return item(loop.at - 1, "the item before the first");
  if (name == "nextitem") return item(loop.at + 1, "the item after the last");
  if (name == "cycle" || name == "changed") throw Fault(fmt::format("loop.{} is a function; call it", name));
  if (name.starts_with("depth")) throw Fault(fmt::format("loop.{} is not supported", name));
  return Value(Undefined{fmt::format("attribute {} of the loop", excerpt(name))});
}

Value Evaluator::call_loop(Loop& loop, std::string_view name, Arguments& arguments) {
  const Items& given = arguments.positional;
  if (!arguments.named.empty() || (name != "cycle" && name != "changed")) {
    throw Fault(fmt::format("loop.{}() with these arguments is not supported", name));
  }
  if (name == "cycle") {
    if (given.empty()) throw Fault("loop.cycle() without items");
    return given[static_cast<size_t>(loop.at) % given.size()];
  }
  const Value now = Value::list(given, ListKind::kTuple);
  if (loop.last_changed && equal(*loop.last_changed, now, budget_)) return Value(false);
  loop.last_changed = now;
  return Value(true);
}

}  // namespace natrix::chat
