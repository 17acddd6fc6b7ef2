// Token shards: a corpus that was tokenised once and is read directly from disk. docs/data.md has the format.
//
//   DIR/index.json        what the shards are: tokenizer, vocabulary, counts, sources; written last
//   DIR/shard-00000.bin   64 bytes of header, then u16 or u32 tokens, separators included
//   …                     the next tokens; a document may continue in the next shard
//
// open_token_shards compares the index, the headers and the file sizes. Each read checks tokens
// against the vocabulary. check_token_shards also checks the payload's checksums. InputError names the
// file and the fault.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/text/corpus.h"
#include "core/text/shard_format.h"

namespace natrix {

/// Whether `natrix data` wrote this directory, even if it is damaged.
bool is_token_shards(const std::string& dir);

/// Whether a file begins like a token shard, whatever its name.
bool is_shard_file(const SourceFile& file);

/// InputError if a path is a token shard, known by its first bytes. The message names the directory to give.
void refuse_named_shards(const std::vector<std::string>& paths, const std::string& key);

/// InputError if the shards are damaged or were made with another tokenizer.
std::unique_ptr<Corpus> open_token_shards(const std::string& dir, const Tokenizer& tokenizer);

inline constexpr int64_t kShardTokens = int64_t{1} << 28;  // 512 MiB of u16: few files that are easy to copy

using TokensDone = std::function<void(int64_t)>;  // called now and then with the tokens since the last call

/// Writes `corpus` to `dir`, which must be new or empty; links are followed. A new directory is written as
/// `dir`.partial and renamed. In an empty directory, files appear when all are complete, the index last. A
/// failure leaves no files behind. The corpus must have separators. `sources` are the paths that the user
/// gave, for the index.
ShardSummary write_token_shards(
    const Corpus& corpus, const Tokenizer& tokenizer, const std::vector<std::string>& sources,
    const std::string& dir, int64_t shard_tokens = kShardTokens, const TokensDone& progress = [](int64_t) {});

/// InputError if write_token_shards would refuse `dir`. Changes nothing.
void check_shard_output(const std::string& dir);

/// Reads everything and checks checksums, tokens and counts. InputError names the first damaged shard.
ShardSummary check_token_shards(
    const std::string& dir, const TokensDone& progress = [](int64_t) {});

}  // namespace natrix
