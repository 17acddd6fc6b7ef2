// Tables of Unicode, made by unicode_data.py: normal forms (UAX #15), letters and numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace natrix::unicode {

/// Full decompositions: code, count, and that many code points; one after another.
extern const uint32_t kCanonical[], kCompatible[];
extern const size_t kCanonicalSize, kCompatibleSize;
/// Pairs of a code point and its combining class, where that is not 0.
extern const uint32_t kClasses[];
extern const size_t kClassesSize;
/// Triples: first, second, composition.
extern const uint32_t kPairs[];
extern const size_t kPairsSize;
/// First and last code points of runs of letters (category L) and of numbers (N), ascending.
extern const uint32_t kLetters[], kNumbers[];
extern const size_t kLettersSize, kNumbersSize;

}  // namespace natrix::unicode
