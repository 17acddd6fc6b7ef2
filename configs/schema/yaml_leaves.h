// YAML, read strictly into leaves: the values of a nested mapping under
// dotted keys, with the lines they stand on.
//
// What YAML allows beyond that (anchors, aliases, tags, merge keys, several documents, complex keys, nested
// lists, texts over several lines, keys without a value, tabs) is refused by name: in an experiment each has
// so far been a mistake. Size and nesting are bounded, so that a hostile file costs a second at most.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "configs/schema/field.h"

namespace natrix {

struct Leaf {
  std::string key;  // "model.mamba.d_state"
  Value value;
  int line = 0;  // from 1
};

/// ConfigError "origin:line: …". Keys are unique. `needs`: said of a text without any.
std::vector<Leaf> read_yaml_leaves(std::string_view text, const std::string& origin, std::string_view needs);

/// One value as the command line gives it: "3", "[a, b]", "\"quoted\"".
Value read_yaml_value(std::string_view text, const std::string& origin);

}  // namespace natrix
