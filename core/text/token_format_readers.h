// The readers of each format of token_formats.h, and what they share.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "core/text/token_formats.h"

namespace natrix {

inline constexpr std::string_view kMegatronMagic("MMIDIDX\0\0", 9);

StoredTokens open_npy(const std::string& path);
/// STEM.idx and STEM.bin.
StoredTokens open_megatron(const std::string& stem);

/// Throws InputError "PATH: WHAT".
[[noreturn]] void fail_token_file(const std::string& path, const std::string& what);

/// The first bytes of a regular file; fewer if it is shorter, none if there is no such file.
std::string beginning_of(const std::string& path, size_t bytes);

/// The little-endian number at an offset of a header that is long enough.
template <class T>
T number_at(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace natrix
