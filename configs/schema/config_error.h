// ConfigError: a fault in an experiment's configuration. The message gives file, line, key, the value found
// and the values allowed. The program ends with exit status 2.
#pragma once

#include <stdexcept>

namespace natrix {

class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace natrix
