#include "configs/schema/source_text.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>

#include "configs/schema/config_error.h"

namespace natrix {
namespace {

constexpr size_t kShownBytes = 60;

struct Character {
  size_t length;  // in bytes; 0: not UTF-8
  uint32_t code;
};

Character utf8_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(at);
  if (first < 0x80) return {1, first};
  const size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (length == 0 || at + length > text.size()) return {0, 0};
  uint32_t code = first & (0x7Fu >> length);
  for (size_t i = at + 1; i < at + length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {0, 0};
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  if (overlong || surrogate || code > 0x10FFFF) return {0, 0};
  return {length, code};
}

}  // namespace

UnfitText find_unfit(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto [length, code] = utf8_at(text, at);
    if (length == 0) {
      return {fmt::format("the byte 0x{:02X} is not UTF-8", static_cast<unsigned char>(text[at])), at};
    }
    if (code == '\t') return {"tabs are not allowed, use spaces", at};
    if (code < 0x20 || (code >= 0x7F && code < 0xA0)) {
      return {fmt::format("the control character 0x{:02X} is not allowed", code), at};
    }
    at += length;
  }
  return {};
}

std::string shortened(std::string_view text) {
  if (text.size() <= kShownBytes) return std::string(text);
  size_t end = kShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return std::string(text.substr(0, end)) + "...";
}

std::string read_source_file(const std::string& path, const std::string& referrer) {
  const std::string place = referrer.empty() ? path : referrer + ": " + path;
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) {
    throw ConfigError(place + ": is a directory, expected a YAML file");
  }
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) throw ConfigError(fmt::format("{}: cannot be read: {}", place, std::strerror(errno)));
  std::string text(kMostSourceBytes + 1, '\0');  // bounded, so that /dev/zero ends too
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) throw ConfigError(fmt::format("{}: cannot be read: {}", place, std::strerror(errno)));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

}  // namespace natrix
