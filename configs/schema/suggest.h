// What a refused key or value was probably meant to be.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "configs/schema/field.h"

namespace natrix {

/// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other.
int edit_distance(std::string_view a, std::string_view b);

/// The nearest of `words` (the first, where several are), or empty if none is near enough to be meant: one
/// mistake in three letters, three at most; in words of two or three letters, no letter changed.
std::string nearest_word(std::string_view word, const std::vector<std::string>& words);

/// The key that a wrong one is meant to be, or empty: a misspelled neighbour in its section, else the right
/// name in another section, else one whose section and name are both misspelled.
std::string nearest_key(const std::string& key, const std::vector<std::string>& known);

/// A spelling that the field accepts where it refused `value`, or empty; a path has none. Reads into the
/// field to find out: for a configuration that is refused anyway.
std::string accepted_spelling(const Field& field, const Value& value);

}  // namespace natrix
