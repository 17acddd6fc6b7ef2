// What is wrong with an experiment's configuration: file, line, key, what was found and what is allowed.
// The program ends with exit status 2.
#pragma once

#include <stdexcept>

namespace natrix {

class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace natrix
