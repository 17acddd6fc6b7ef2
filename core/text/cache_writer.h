// CacheWriter: writes an entry of the token cache, shard by shard, so that a process that was killed loses no
// more than the shard it was making.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/text/shard_format.h"
#include "core/text/tokenise.h"

namespace natrix {

class CacheWriter {
 public:
  /// Goes on with what an earlier writer left in `dir`, or removes it if it is of no use. The caller holds the
  /// directory's lock. A shard ends with the piece that fills it with part_tokens tokens or more. marked: the
  /// shards have marks, because some tokens are not to be predicted.
  CacheWriter(std::string dir, const Tokenizer& tokenizer, int64_t part_tokens, bool marked = false);

  /// Where the pieces begin that are not yet in a shard.
  const TextPosition& position() const { return position_; }
  void add(const TokenPiece& piece);
  int64_t documents() const { return index_.summary.documents; }
  int64_t text_bytes() const { return index_.summary.text_bytes; }
  /// The last shard, and the index. `sources` are the paths that it names.
  void finish(const std::vector<std::string>& sources);
  /// Removes what only resuming needs from an entry that is complete and has its final name.
  static void forget_parts(const std::string& dir);

 private:
  bool resume();
  void start_again();
  void append_separator();
  void write_part();
  void write_parts() const;

  std::string dir_;
  int64_t part_tokens_;
  ShardIndex index_;
  TextPosition position_;  // after the last complete shard; after add(): of what is in memory too
  std::vector<unsigned char> stored_;
  std::vector<uint8_t> marks_;
  bool learns_end_ = false;  // the end of the document so far is to be predicted
};

}  // namespace natrix
