#include "core/text/token_formats.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <string_view>

#include "core/text/source_files.h"
#include "core/text/token_format_readers.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr int32_t kLlmCMagic16 = 20240520, kLlmCMagic32 = 20240801;
constexpr int64_t kLlmCHeader = 256 * sizeof(int32_t);

bool begins_with(const std::string& path, std::string_view magic) {
  return beginning_of(path, magic.size()) == magic;
}

std::string megatron_stem(const std::string& path) {
  return path.ends_with(".idx") || path.ends_with(".bin") ? path.substr(0, path.size() - 4) : path;
}

bool is_llm_c(const std::string& path) {
  const std::string head = beginning_of(path, sizeof(int32_t));
  if (head.size() < sizeof(int32_t)) return false;
  const auto magic = number_at<int32_t>(head, 0);
  return magic == kLlmCMagic16 || magic == kLlmCMagic32;
}

StoredTokens open_llm_c(const std::string& path) {
  const SourceFile file(path);
  const std::string head = beginning_of(path, static_cast<size_t>(kLlmCHeader));
  if (static_cast<int64_t>(head.size()) < kLlmCHeader) {
    fail_token_file(path, fmt::format("is {} bytes long, shorter than the header of an llm.c file, {}",
                                      head.size(), kLlmCHeader));
  }
  const bool wide = number_at<int32_t>(head, 0) == kLlmCMagic32;
  const auto version = number_at<int32_t>(head, 4), count = number_at<int32_t>(head, 8);
  if (version != (wide ? 7 : 1)) {
    fail_token_file(path, fmt::format("is an llm.c file of version {}; expected {}", version, wide ? 7 : 1));
  }
  const int64_t width = wide ? 4 : 2, payload = file.size() - kLlmCHeader;
  if (count < 1 || payload != count * width) {
    fail_token_file(path, fmt::format("its header says {} tokens of {} bytes, but {} bytes follow it", count,
                                      width, payload));
  }
  return {.path = path,
          .file_size = file.size(),
          .offset = kLlmCHeader,
          .type = wide ? IntegerType::kU32 : IntegerType::kU16,
          .count = count,
          .index = {},
          .index_size = 0,
          .document_starts = {}};
}

template <class Stored>
void widen_from(const unsigned char* stored, int64_t count, int64_t* tokens) {
  for (int64_t i = 0; i < count; ++i) {
    Stored token;
    std::memcpy(&token, stored + i * int64_t{sizeof token}, sizeof token);
    tokens[i] = static_cast<int64_t>(+token);  // + makes small types int
  }
}

}  // namespace

void fail_token_file(const std::string& path, const std::string& what) {
  throw InputError(fmt::format("{}: {}", path, what));
}

std::string beginning_of(const std::string& path, size_t bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return "";
  const SourceFile file(path);
  std::string text(std::min(bytes, static_cast<size_t>(file.size())), '\0');
  file.read(0, static_cast<int64_t>(text.size()), text.data());
  return text;
}

int64_t width_of(IntegerType type) {
  switch (type) {
    case IntegerType::kU8:
    case IntegerType::kI8: return 1;
    case IntegerType::kU16:
    case IntegerType::kI16: return 2;
    case IntegerType::kU32:
    case IntegerType::kI32: return 4;
    case IntegerType::kU64:
    case IntegerType::kI64: break;
  }
  return 8;
}

std::optional<TokenFormat> token_format_of(const std::string& path) {
  std::error_code error;
  const auto exists = [&](const std::string& file) { return std::filesystem::exists(file, error); };
  const bool is_name = !exists(path), is_index = path.ends_with(".idx"), is_bin = path.ends_with(".bin");
  if (is_name || is_index || is_bin) {
    const std::string stem = megatron_stem(path);
    const bool pair = exists(stem + ".idx") && exists(stem + ".bin");
    if (pair || begins_with(stem + ".idx", kMegatronMagic)) return TokenFormat::kMegatron;
  }
  if (is_bin && is_llm_c(path)) return TokenFormat::kLlmC;
  if (path.ends_with(".npy") && !is_name) return TokenFormat::kNpy;
  return std::nullopt;
}

std::string tokens_path(TokenFormat format, const std::string& path) {
  return format == TokenFormat::kMegatron ? megatron_stem(path) + ".bin" : path;
}

StoredTokens open_token_file(TokenFormat format, const std::string& path) {
  switch (format) {
    case TokenFormat::kMegatron: return open_megatron(megatron_stem(path));
    case TokenFormat::kLlmC: return open_llm_c(path);
    case TokenFormat::kNpy: break;
  }
  return open_npy(path);
}

void widen_integers(const unsigned char* stored, IntegerType type, int64_t count, int64_t* tokens) {
  switch (type) {
    case IntegerType::kU8: return widen_from<uint8_t>(stored, count, tokens);
    case IntegerType::kI8: return widen_from<int8_t>(stored, count, tokens);
    case IntegerType::kU16: return widen_from<uint16_t>(stored, count, tokens);
    case IntegerType::kI16: return widen_from<int16_t>(stored, count, tokens);
    case IntegerType::kU32: return widen_from<uint32_t>(stored, count, tokens);
    case IntegerType::kI32: return widen_from<int32_t>(stored, count, tokens);
    case IntegerType::kU64: return widen_from<uint64_t>(stored, count, tokens);
    case IntegerType::kI64: return widen_from<int64_t>(stored, count, tokens);
  }
}

}  // namespace natrix
