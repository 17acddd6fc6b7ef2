// Unicode's normal forms (UAX #15).
#pragma once

#include <string>
#include <string_view>

namespace natrix {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// Bytes that are not UTF-8 stay as they are.
std::string normalized(std::string_view text, NormalForm form);

}  // namespace natrix
