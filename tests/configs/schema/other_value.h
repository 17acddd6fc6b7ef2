// Gives any key of the model another valid value, so that tests cover keys that do not exist yet.
#pragma once

#include "configs/schema/field.h"

namespace natrix::test {

/// Sets the field to a value that it accepts and does not have: another of its words, another number, another
/// text. False if none is found.
inline bool set_other_value(const Field& field) {
  const Scalar before = field.get();
  const auto takes = [&](const Scalar& value) {
    return value != before && field.set(value) && field.get() != before;
  };
  if (std::holds_alternative<bool>(before)) return takes(!std::get<bool>(before));
  if (std::holds_alternative<int64_t>(before)) {
    return takes(std::get<int64_t>(before) + 1) || takes(std::get<int64_t>(before) - 1);
  }
  if (std::holds_alternative<double>(before)) {
    return takes(std::get<double>(before) / 2) || takes(0.25);
  }
  for (const std::string& word : field.words) {
    if (takes(word)) return true;
  }
  return takes(int64_t{11}) || takes(0.25) || takes(std::string("EM")) || takes(std::string("[0.25, 3]"));
}

}  // namespace natrix::test
