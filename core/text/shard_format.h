// The files of a directory of token shards: index.json and the header of a shard. Little-endian.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace natrix {

inline constexpr const char* kShardFormat = "natrix-token-shards";  // "format" in index.json
inline constexpr int64_t kShardVersion = 1;
inline constexpr int64_t kMarkedVersion = 2;  // of an index whose shards have marks; their header is the same
inline constexpr std::string_view kShardMagic = "NATRIXTK";  // first bytes of a shard

struct ShardHeader {
  char magic[8];  // NATRIXTK
  uint32_t version;
  uint32_t token_bytes;  // 2 or 4
  int64_t tokens;
  int64_t vocab_size;
  int64_t eod;
  char xxh3[16];        // of the tokens' bytes: XXH3, 64 bits, in hex digits
  uint8_t reserved[8];  // zero
};
static_assert(sizeof(ShardHeader) == 64);

struct ShardSummary {
  std::string tokenizer;           // its name
  std::string tokenizer_identity;  // Tokenizer::identity(): equal wherever its files are
  int64_t vocab_size = 0, eod = 0;
  int64_t token_bytes = 0;  // of one token on disk: 2 or 4
  int64_t tokens = 0, documents = 0, text_bytes = 0;
  int64_t shards = 0;
  bool marked = false;  // beside each shard lies a file of marks, a byte for each token
};

/// The bits of a mark.
inline constexpr uint8_t kStartsDocument = 1, kIsLearnt = 2;

/// The file of marks that belongs to a shard: shard-00000.marks.
std::string marks_path(const std::string& shard_path);

struct ShardEntry {
  std::string path;
  int64_t tokens = 0;
  std::string xxh3;
  std::string marks_xxh3;  // of the marks; empty if there are none
};

struct ShardIndex {
  ShardSummary summary;
  std::vector<ShardEntry> shards;
};

/// InputError for an index.json that is missing, malformed, or contradicts itself.
ShardIndex read_shard_index(const std::string& dir);
void write_shard_index(const std::string& path, const ShardIndex& index,
                       const std::vector<std::string>& sources);

/// Writes tokens in their stored form as one shard, which appears complete or not at all.
ShardEntry write_shard_file(const std::string& path, const std::vector<unsigned char>& stored,
                            const ShardSummary& summary);

ShardHeader make_header(const ShardEntry& shard, const ShardSummary& summary);
/// InputError unless the header agrees with the index and with the size of the shard's file.
void check_header(const ShardHeader& header, int64_t file_size, const ShardEntry& shard,
                  const ShardSummary& summary);

/// InputError "PATH: WHAT; make the shards again …".
[[noreturn]] void fail_shard(const std::string& path, const std::string& what);

/// 2 while every id fits into 16 bits, else 4.
int64_t token_bytes_for(int64_t vocab_size);
/// Converts stored tokens to i64. `stored` may be the end of the memory of `tokens`.
void widen_tokens(const unsigned char* stored, int64_t token_bytes, int64_t count, int64_t* tokens);
void narrow_tokens(const int64_t* tokens, int64_t token_bytes, int64_t count, unsigned char* stored);

}  // namespace natrix
