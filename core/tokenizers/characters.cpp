#include "core/tokenizers/characters.h"

#include <algorithm>
#include <vector>

#include "core/tokenizers/unicode_data.h"

namespace natrix {
namespace {

enum Class : uint8_t { kOther, kLetter, kNumber };

/// The class of each code point: two bits would do, a byte is faster.
const std::vector<uint8_t>& classes() {
  static const std::vector<uint8_t> made = [] {
    std::vector<uint8_t> all(0x110000, kOther);
    const auto mark = [&](const uint32_t* runs, size_t size, Class what) {
      for (size_t i = 0; i < size; i += 2)
        std::fill(all.begin() + runs[i], all.begin() + runs[i + 1] + 1, what);
    };
    mark(unicode::kLetters, unicode::kLettersSize, kLetter);
    mark(unicode::kNumbers, unicode::kNumbersSize, kNumber);
    return all;
  }();
  return made;
}

bool has_class(uint32_t code, Class what) {
  return code < 0x110000 && classes()[code] == what;
}

}  // namespace

bool is_letter(uint32_t code) {
  if (code < 0x80) return (code | 0x20) - 'a' < 26;
  return has_class(code, kLetter);
}

bool is_number(uint32_t code) {
  if (code < 0x80) return code - '0' < 10;
  return has_class(code, kNumber);
}

bool is_white_space(uint32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (0x2000 <= code && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

}  // namespace natrix
