// The bytes of a configuration, before anything is made of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace natrix {

/// An experiment is a few kilobytes; what is larger is refused.
constexpr size_t kMostSourceBytes = size_t{1} << 20;

/// A whole file, or so much of it that it can be seen to be too large. ConfigError if it cannot be read;
/// `referrer` (what asked for it) begins the message, if not empty.
std::string read_source_file(const std::string& path, const std::string& referrer);

struct UnfitText {
  std::string why;  // empty: the text may stand in a configuration
  size_t at = 0;    // offset of the culprit
};
/// Tabs, control bytes and what is not UTF-8.
UnfitText find_unfit(std::string_view text);

/// At most 60 bytes, for a message.
std::string shortened(std::string_view text);

}  // namespace natrix
