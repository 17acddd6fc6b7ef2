// Field: one key of an experiment, bound to the member that holds its value. Only the list of all fields
// (fields.cpp) knows the keys. Parsing, validation, printing, hashing and documentation use that list.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "configs/schema/experiment.h"

namespace natrix {

/// The value that a YAML file or the command line gives for a key.
struct Value {
  std::vector<std::string> texts;  // one, unless it is a list
  bool is_list = false;
  bool quoted = false;  // "3" is text, 3 is a number
};

struct Field {
  std::string key;      // "model.mamba.d_state"
  std::string expects;  // "an integer from 1 to 65536": for messages and the documentation
  std::string help;
  bool is_path = false;                    // relative to the file that names it
  bool decides_result = true;              // false: affects only where, how often or how fast; not hashed
  std::vector<std::string> words;          // special words: names of choices, "auto", "none"; no paths
  std::function<bool(const Value&)> read;  // false: not valid, and the member is unchanged
  std::function<std::string()> print;      // as YAML
};

/// Every key in the order of the documentation, bound to `config`, which must outlive the list.
std::vector<Field> fields_of(ExperimentConfig& config);

}  // namespace natrix
