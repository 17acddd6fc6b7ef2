#include "core/tokenizers/byte_letters.h"

#include <array>
#include <cstdint>
#include <unordered_map>

#include "core/tokenizers/utf8.h"

namespace natrix {
namespace {

constexpr bool is_own_letter(int byte) {
  return ('!' <= byte && byte <= '~') || (0xA1 <= byte && byte <= 0xAC) || (0xAE <= byte && byte <= 0xFF);
}

constexpr std::array<uint32_t, 256> kLetters = [] {
  std::array<uint32_t, 256> letters{};
  uint32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte)
    letters[static_cast<size_t>(byte)] = is_own_letter(byte) ? static_cast<uint32_t>(byte) : next++;
  return letters;
}();

constexpr uint32_t kMost = 0x100 + 68;  // 68 bytes are moved

constexpr std::array<int16_t, kMost> kBytes = [] {
  std::array<int16_t, kMost> bytes{};
  bytes.fill(-1);
  for (size_t byte = 0; byte < 256; ++byte) bytes[kLetters[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

}  // namespace

std::optional<std::string> bytes_of_letters(std::string_view token) {
  std::string bytes;
  for (size_t i = 0; i < token.size();) {
    const Character c = character_at(token, i);
    if (c.code >= kMost || kBytes[c.code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytes[c.code]));
    i += static_cast<size_t>(c.length);
  }
  return bytes;
}

std::string letters_of_bytes(std::string_view bytes) {
  std::string letters;
  for (const char byte : bytes) append_utf8(letters, kLetters[static_cast<unsigned char>(byte)]);
  return letters;
}

}  // namespace natrix
