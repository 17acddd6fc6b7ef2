// Classes of characters, as regular expressions name them: \p{L}, \p{N}, \s.
#pragma once

#include <cstdint>

namespace natrix {

bool is_letter(uint32_t code);
bool is_number(uint32_t code);
bool is_white_space(uint32_t code);

}  // namespace natrix
