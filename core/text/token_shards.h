// Token shards: a corpus that was tokenised once and is read as it lies on disk. docs/data.md has the format.
//
//   DIR/index.json        what the shards are: tokenizer, vocabulary, counts, sources; written last
//   DIR/shard-00000.bin   64 bytes of header, then u16 or u32 tokens, separators included
//   …                     the next tokens; a document may go on from one shard into the next
//
// What a reader checks: index against headers against file sizes when opened, every token against the
// vocabulary when read, and the payload's checksum on request (check_token_shards). InputError names the file
// and what is wrong.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/text/corpus.h"
#include "core/text/shard_format.h"

namespace natrix {

/// True for a directory that natrix data wrote, also where it is damaged.
bool is_token_shards(const std::string& dir);

/// Whether a file begins as a file of token shards does, whatever it is called.
bool is_shard_file(const SourceFile& file);

/// InputError where a path is a file of token shards, known by its first bytes: it names the directory to give.
void refuse_named_shards(const std::vector<std::string>& paths, const std::string& key);

/// InputError if the shards are damaged, or were made with another tokenizer than this.
std::unique_ptr<Corpus> open_token_shards(const std::string& dir, const Tokenizer& tokenizer);

inline constexpr int64_t kShardTokens = int64_t{1} << 28;  // 512 MiB of u16: few files, yet easy to copy

using TokensDone = std::function<void(int64_t)>;  // called now and then with the tokens since the last call

/// Writes `corpus` to `dir`, which must be new or empty; a link is followed. A new directory is written as
/// `dir`.partial and renamed; into an empty one the files move when all are complete, the index last. A
/// failure leaves neither. The corpus must have separators. `sources` are the paths as the user gave them,
/// for the index.
ShardSummary write_token_shards(
    const Corpus& corpus, const Tokenizer& tokenizer, const std::vector<std::string>& sources,
    const std::string& dir, int64_t shard_tokens = kShardTokens, const TokensDone& progress = [](int64_t) {});

/// InputError where write_token_shards would refuse `dir`. Touches nothing.
void check_shard_output(const std::string& dir);

/// Reads everything, and compares checksums, tokens and counts. InputError names the first damaged shard.
ShardSummary check_token_shards(
    const std::string& dir, const TokensDone& progress = [](int64_t) {});

}  // namespace natrix
