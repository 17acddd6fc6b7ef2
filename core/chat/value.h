// Value: what an expression of a template yields, with the semantics of Python's objects.
//
// Strings, lists and dictionaries never change once made, and are shared. Only a namespace changes; the evaluator
// owns all namespaces and scopes, and a Value only borrows them, so values form no cycles.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/chat/limits.h"

namespace natrix::chat {

class Value;
struct Scope;
struct Statement;
using Items = std::vector<Value>;
using Entries = std::vector<std::pair<Value, Value>>;

struct Undefined {
  std::string name;  // for the message: "'x' is undefined"
};

struct Text {
  std::string bytes;    // UTF-8
  bool markup = false;  // marked by |safe or |escape: + escapes what is added to it
};

/// Several of Python's types that are read alike and differ in what else they allow.
enum class ListKind { kList, kTuple, kRange, kView, kIterator };

struct List {
  Items items;
  ListKind kind = ListKind::kList;
  int depth = 1;               // levels of lists and dictionaries, this one included
  mutable bool spent = false;  // an iterator yields its items once
};

struct Dict {
  Entries entries;  // in order of insertion
  int depth = 1;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
};

enum class Callable { kMacro, kMethod, kGlobal };
struct Function;

class Value {
 public:
  Value() : data_(Undefined{}) {}
  explicit Value(std::nullptr_t) : data_(nullptr) {}
  explicit Value(bool b) : data_(b) {}
  explicit Value(int64_t i) : data_(i) {}
  explicit Value(double d) : data_(d) {}
  explicit Value(Namespace* space) : data_(space) {}
  explicit Value(std::shared_ptr<const Function> function) : data_(std::move(function)) {}
  explicit Value(Undefined u) : data_(std::move(u)) {}
  explicit Value(const char*) = delete;  // would be a bool

  static Value text(std::string bytes, bool markup = false);
  /// Fault beyond the limits on nesting.
  static Value list(Items items, ListKind kind = ListKind::kList);
  static Value dict(Entries entries);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<std::nullptr_t>(data_); }
  bool is_bool() const { return std::holds_alternative<bool>(data_); }
  bool is_int() const { return std::holds_alternative<int64_t>(data_); }
  bool is_float() const { return std::holds_alternative<double>(data_); }
  /// Python's bool is a number too.
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  /// The value as one of the types below, or null.
  const Undefined* undefined() const { return std::get_if<Undefined>(&data_); }
  const Text* text() const;
  const List* list() const;
  const Dict* dict() const;
  const Function* function() const;
  Namespace* space() const;

  bool as_bool() const { return std::get<bool>(data_); }
  /// Of a bool or int.
  int64_t as_int() const { return is_bool() ? int64_t{as_bool()} : std::get<int64_t>(data_); }
  /// Of any number.
  double as_float() const { return is_float() ? std::get<double>(data_) : static_cast<double>(as_int()); }

 private:
  std::variant<Undefined, std::nullptr_t, bool, int64_t, double, std::shared_ptr<const Text>,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>, std::shared_ptr<const Function>,
               Namespace*>
      data_;
};

struct Function {
  Callable kind;
  std::string name;
  Value self;                        // kMethod: the value it belongs to
  const Statement* macro = nullptr;  // kMacro
  Scope* scope = nullptr;            // kMacro: where it was defined
};

/// "string", "list", "none" …, for messages.
std::string type_name(const Value& value);
/// Fault with the name of the variable if the value is undefined.
void require_defined(const Value& value);

bool truth(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
/// Below, equal, above: -1, 0, 1. Fault if the two have no order. `ignore_case` is that of sort, min and unique.
int order(const Value& a, const Value& b, Budget& budget, bool ignore_case = false);
/// a in b.
bool contains(const Value& whole, const Value& part, Budget& budget);

/// The items of anything that Python iterates over: characters, keys. Fault if there are none to take.
Items iterate(const Value& value, Budget& budget);
/// Code points, items or entries. Fault if the value has no length.
int64_t length(const Value& value);
/// The value of a key, or null.
const Value* find(const Dict& dict, const Value& key, Budget& budget);
const Value* find(const Dict& dict, std::string_view key);
/// Inserts, or replaces the value of an equal key.
void insert(Entries& entries, Value key, Value value, Budget& budget);

/// Fault for a number that int64 does not hold, and for nesting beyond the limit.
template <class Json>
Value from_json(const Json& json, Budget& budget, int depth = 0);

}  // namespace natrix::chat
