// Files of tokens that other programs wrote:
//
//   NAME.idx + NAME.bin   Megatron's indexed data set (MMIDIDX, version 1); given as NAME, NAME.idx or NAME.bin
//   NAME.bin              llm.c: a header of 256 int32, then tokens of 16 bits (magic 20240520, version 1) or
//                         of 32 bits (magic 20240801, version 7)
//   NAME.npy              NumPy: an array of integers with one or two dimensions, read row after row
//
// Only headers and indexes are read here, and compared with the files' sizes. InputError names the file and
// the fault.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace natrix {

enum class TokenFormat { kMegatron, kLlmC, kNpy };

enum class IntegerType { kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64 };
int64_t width_of(IntegerType type);  // bytes

/// Integers of one type in a file, and what is known of their documents.
struct StoredTokens {
  std::string path;
  int64_t file_size = 0;
  int64_t offset = 0;  // bytes before the first token
  IntegerType type = IntegerType::kU16;
  int64_t count = 0;
  std::string index;  // a file beside it that belongs to the data, or empty
  int64_t index_size = 0;
  /// Of Megatron: the token at which each document begins, and at the end `count`. Else empty.
  std::vector<int64_t> document_starts;
};

/// The format of a path that holds tokens, by its name and its first bytes; nothing for every other path.
std::optional<TokenFormat> token_format_of(const std::string& path);

StoredTokens open_token_file(TokenFormat format, const std::string& path);

/// The path of the tokens themselves: NAME.bin for NAME and NAME.idx.
std::string tokens_path(TokenFormat format, const std::string& path);

/// Converts stored integers to i64. `stored` may be the end of the memory of `tokens`. Those of 64 bits without
/// sign that do not fit become negative.
void widen_integers(const unsigned char* stored, IntegerType type, int64_t count, int64_t* tokens);

}  // namespace natrix
