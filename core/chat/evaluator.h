// Evaluator: renders a parsed template once. It owns the scopes and namespaces that values borrow.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/chat/arguments.h"
#include "core/chat/syntax.h"
#include "core/chat/value.h"

namespace natrix::chat {

/// The current place of a {% for %}.
struct Loop {
  const Items* items;
  int64_t at = 0;
  std::optional<Value> last_changed;  // what loop.changed() was last asked
};

/// Variables of a block. Names are looked up through the parents; {% set %} writes to the innermost scope only, so
/// what a loop's body sets is gone in the next iteration (jinja2's rule; a namespace gets around it).
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string, Value>> variables = {};
  Loop* loop = nullptr;   // of the for whose body this is
  bool captured = false;  // a macro was defined in it, and may read it after the block has ended
};

class Evaluator {
 public:
  /// `now`: seconds since 1970, for strftime_now; the machine's clock if empty.
  Evaluator(Budget& budget, std::optional<int64_t> now) : budget_(budget), now_(now) {}
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  void define(std::string name, Value value) { set(root_, std::move(name), std::move(value)); }
  /// Fault for what the template or the values do wrong; line() then tells where.
  std::string render(const Body& body);
  int line() const { return line_; }

  /// Ranges of bytes in the result of render() that {% generation %} blocks wrote.
  const std::vector<std::pair<size_t, size_t>>& generated() const { return generated_; }
  /// A {% generation %} block wrote to a variable or in a macro, so its place in the output is not known.
  bool generated_elsewhere() const { return generated_elsewhere_; }

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // Statements (statements.cpp). They append to `out`.
  Flow run(const Body& body, Scope& scope, std::string& out);
  Flow run(const Statement& statement, Scope& scope, std::string& out);
  Flow run_for(const Statement& loop, Scope& scope, std::string& out);
  Flow run_inner(const Body& body, Scope& scope, std::string& out);
  Flow run_generation(const Statement& generation, Scope& scope, std::string& out);
  void run_set(const Statement& set, Scope& scope);
  void run_call(const Statement& call, Scope& scope, std::string& out);
  void write(std::string_view text, std::string& out);
  std::string buffered(const Body& body, Scope& scope);
  void assign(const Statement& statement, Value value, Scope& scope);
  void assign(const Target& target, Value value, Scope& scope);

  // Expressions (evaluator.cpp).
  Value evaluate(const Expression& e, Scope& scope);
  Value evaluate_operator(const Expression& e, Scope& scope);
  Value evaluate_part(const Expression& e, Scope& scope);
  Value comparison(const Expression& e, Scope& scope);
  Value dictionary(const Expression& e, Scope& scope);
  Value filtered(const Expression& e, Scope& scope);
  Items evaluate_all(const Expression& e, size_t from, Scope& scope);
  Arguments arguments(const Expression& call, Scope& scope);
  Value look_up(const std::string& name, const Scope& scope) const;
  Value call(const Expression& e, Scope& scope, const Value* caller = nullptr);
  Value call(const Value& function, Arguments& arguments);
  Value call_macro(const Function& function, Arguments& arguments);

  // Functions that templates find defined (globals.cpp).
  static bool is_global(std::string_view name);
  Value call_global(std::string_view name, Arguments& arguments);
  Value make_namespace(Arguments& arguments);
  Value strftime_now(Arguments& arguments) const;
  static Loop* loop_of(const Expression& e, const Scope& scope);
  Value loop_attribute(const Loop& loop, std::string_view name) const;
  Value call_loop(Loop& loop, std::string_view name, Arguments& arguments);

  static void set(Scope& scope, std::string name, Value value);
  static void capture(Scope& scope);
  void keep(std::unique_ptr<Scope> scope);

  /// One level of evaluation.
  class Level {
   public:
    explicit Level(Evaluator& evaluator);
    ~Level() { --evaluator_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Evaluator& evaluator_;
  };

  Budget& budget_;
  std::optional<int64_t> now_;
  Scope root_;
  std::vector<std::unique_ptr<Scope>> kept_;
  std::deque<Namespace> spaces_;
  const Value* piped_ = nullptr;  // what the innermost filter of a {% filter %} or {% set %} block gets
  const std::string* result_ = nullptr;  // the output itself, not a buffer
  std::vector<std::pair<size_t, size_t>> generated_;
  bool generated_elsewhere_ = false;
  int depth_ = 0;
  int line_ = 1;
};

}  // namespace natrix::chat
