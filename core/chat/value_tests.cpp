#include "core/chat/value_tests.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "core/chat/filters.h"
#include "core/chat/operators.h"
#include "core/chat/printing.h"
#include "core/chat/unicode.h"
#include "core/files/json.h"

namespace natrix::chat {
namespace {

struct ComparisonName {
  std::string_view name, op;
};
constexpr std::array<ComparisonName, 18> kComparisons = {{{"==", "=="},
                                                          {"eq", "=="},
                                                          {"equalto", "=="},
                                                          {"!=", "!="},
                                                          {"ne", "!="},
                                                          {"<", "<"},
                                                          {"lt", "<"},
                                                          {"lessthan", "<"},
                                                          {"<=", "<="},
                                                          {"le", "<="},
                                                          {">", ">"},
                                                          {"gt", ">"},
                                                          {"greaterthan", ">"},
                                                          {">=", ">="},
                                                          {"ge", ">="},
                                                          {"in", "in"},
                                                          {"sameas", "is"},
                                                          {"divisibleby", "%"}}};

bool is_sequence(const Value& v) {
  const List* list = v.list();
  return v.is_undefined() || v.text() || v.dict() ||
         (list && list->kind != ListKind::kIterator && list->kind != ListKind::kView);
}

bool is_upper(const Value& v, Budget& budget) {
  const std::string text = to_text(v, budget);
  return upper(text) == text && lower(text) != text;
}

bool is_lower(const Value& v, Budget& budget) {
  const std::string text = to_text(v, budget);
  return lower(text) == text && upper(text) != text;
}

using Test = bool (*)(const Value&, Budget&);
struct PlainTest {
  std::string_view name;
  Test holds;
};

const std::array<PlainTest, 21> kPlainTests = {{
    {"defined", [](const Value& v, Budget&) { return !v.is_undefined(); }},
    {"undefined", [](const Value& v, Budget&) { return v.is_undefined(); }},
    {"none", [](const Value& v, Budget&) { return v.is_none(); }},
    {"boolean", [](const Value& v, Budget&) { return v.is_bool(); }},
    {"true", [](const Value& v, Budget&) { return v.is_bool() && v.as_bool(); }},
    {"false", [](const Value& v, Budget&) { return v.is_bool() && !v.as_bool(); }},
    {"integer", [](const Value& v, Budget&) { return v.is_int(); }},
    {"float", [](const Value& v, Budget&) { return v.is_float(); }},
    {"number", [](const Value& v, Budget&) { return v.is_number(); }},
    {"string", [](const Value& v, Budget&) { return v.text() != nullptr; }},
    {"mapping", [](const Value& v, Budget&) { return v.dict() != nullptr; }},
    {"sequence", [](const Value& v, Budget&) { return is_sequence(v); }},
    {"iterable",
     [](const Value& v, Budget&) { return v.is_undefined() || v.text() || v.list() || v.dict(); }},
    {"callable", [](const Value& v, Budget&) { return v.function() != nullptr || v.is_undefined(); }},
    {"odd", [](const Value& v, Budget&) { return need_integer(v, "the value") % 2 != 0; }},
    {"even", [](const Value& v, Budget&) { return need_integer(v, "the value") % 2 == 0; }},
    {"upper", is_upper},
    {"lower", is_lower},
    {"escaped", [](const Value& v, Budget&) { return v.text() && v.text()->markup; }},
    {"filter", [](const Value& v, Budget&) { return is_filter(need_text(v, "the value")); }},
    {"test", [](const Value& v, Budget&) { return is_value_test(need_text(v, "the value")); }},
}};

const PlainTest* plain(std::string_view name) {
  const auto found =
      std::find_if(kPlainTests.begin(), kPlainTests.end(), [&](auto& t) { return t.name == name; });
  return found == kPlainTests.end() ? nullptr : &*found;
}

const ComparisonName* comparison(std::string_view name) {
  const auto found =
      std::find_if(kComparisons.begin(), kComparisons.end(), [&](auto& c) { return c.name == name; });
  return found == kComparisons.end() ? nullptr : &*found;
}

bool same(const Value& a, const Value& b, Budget& budget) {
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_bool() || b.is_bool()) return a.is_bool() && b.is_bool() && a.as_bool() == b.as_bool();
  if (a.list() || a.dict()) return a.list() == b.list() && a.dict() == b.dict();
  return type_name(a) == type_name(b) && equal(a, b, budget);
}

}  // namespace

bool is_value_test(std::string_view name) {
  return plain(name) || comparison(name);
}

std::string unknown_value_test(std::string_view name) {
  return fmt::format("unknown test {}; docs/chat.md lists the tests that natrix knows", excerpt(name));
}

bool run_value_test(std::string_view name, const Value& value, Arguments& arguments, Budget& budget) {
  if (const PlainTest* test = plain(name)) {
    arguments.finish();
    return test->holds(value, budget);
  }
  const ComparisonName* found = comparison(name);
  if (!found) throw Fault(unknown_value_test(name));
  const Value& other = arguments.need(0);
  arguments.finish();
  if (found->op == "is") return same(value, other, budget);
  if (found->op == "%") {
    const Value rest = arithmetic("%", value, other, budget);
    return rest.is_number() && rest.as_float() == 0;
  }
  return compare(found->op, value, other, budget);
}

}  // namespace natrix::chat
