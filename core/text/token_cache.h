// The token cache: texts that are turned into tokens once, into a directory of token shards that later runs
// read.
//
//   CACHE/tokens/<key>/           token shards (core/text/shard_format.h)
//   CACHE/tokens/<key>.partial/   the shards so far, and parts.json, which says where reading goes on
//
// The key is a hash of the files' content, the tokenizer and the format, so that files may move, and a changed
// file is another entry. A process that is killed leaves the partial directory, and the next one goes on after
// its last complete shard. Of several processes that want an entry one makes it while the others wait: they
// poll, so that no communication between ranks times out meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/text/corpus.h"
#include "core/text/text_documents.h"

namespace natrix {

/// CACHE: NATRIX_CACHE, else XDG_CACHE_HOME/natrix, else ~/.cache/natrix.
std::string default_cache();

/// The tokens of `files` as one corpus, from the cache, or made first with a progress bar on stderr. InputError
/// for a file that is not what it should be; then nothing is left in the cache.
std::unique_ptr<Corpus> open_cached_texts(const std::vector<TextFile>& files, const Tokenizer& tokenizer,
                                          const std::string& setting, const ReadOptions& options);

}  // namespace natrix
