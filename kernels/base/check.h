// Errors, by whose fault they are:
//
//   InputError      the user's: a flag, a key, a file's content.  The program ends with exit status 2.
//   RunError        the machine's: I/O, numerics, a lost rank.    The program ends with exit status 1.
//   ContractError   ours: a caller broke a function's contract.   Exit status 1, worded as a bug report.
//
// A message names the culprit (file, key, tensor, operation), what was found, what was
// expected, and what to do.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace natrix {

class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class RunError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class ContractError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

[[noreturn]] void contract_broken(std::string_view what, std::source_location where);

/// Checks a condition that only a programmer can break; never use it on user input. It stays on in release
/// builds, because it guards kernel calls that take microseconds at least.
inline void require(bool holds, std::string_view what,
                    std::source_location where = std::source_location::current()) {
  if (!holds) [[unlikely]] {
    contract_broken(what, where);
  }
}

}  // namespace natrix
