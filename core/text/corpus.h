// Corpus: documents as one virtual sequence of tokens.
//
//   EOD doc1 EOD doc2 EOD … docN EOD
//
// A separator precedes each document and is its first input. Carried states are reset there, so a change in
// one document does not affect another. The target after a document's last byte is EOD, whichever document
// follows. A tokenizer without EOD gives  doc1 doc2 … docN.
//
// Tokens are read from the disk where they are needed. Plain text that the tokenizer `bytes` reads stays as it
// is; other text is turned into tokens once (core/text/token_cache.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "configs/schema/experiment.h"
#include "core/text/conversation.h"
#include "core/text/source_files.h"
#include "core/tokenizers/tokenizer.h"

namespace natrix {

class Corpus {
 public:
  virtual ~Corpus() = default;

  virtual std::string name() const = 0;  // where it comes from, for messages
  virtual int64_t size() const = 0;      // tokens, separators included; at least 1
  virtual int64_t documents() const = 0;
  virtual int64_t eod() const = 0;  // kNoEod: there are no separators
  /// Reads tokens [begin, begin + count). If `starts` is not null, starts[i] = 1 where token i is the first
  /// of its document (its separator, if there is one), else 0. Any number of threads may call it at once.
  virtual void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const = 0;
  /// Whether there are tokens that are not to be predicted: in conversations, what others than the assistant
  /// said.
  virtual bool masks_loss() const { return false; }
  /// loss[i] = 1 if token begin + i is to be predicted, else 0.
  virtual void read_loss(int64_t /*begin*/, int64_t count, uint8_t* loss) const {
    std::fill_n(loss, count, uint8_t{1});
  }
  /// The number of bytes of text of tokens [begin, begin + count). Separators have none.
  virtual int64_t text_bytes(int64_t begin, int64_t count) const = 0;
  /// The files that it is read from, in order.
  virtual std::vector<DataFile> files() const = 0;
};

/// How text is turned into tokens where that is needed.
struct ReadOptions {
  std::string cache;   // directory that keeps the tokens; empty: default_cache()
  int threads = 0;     // 0: as many as the machine has
  bool quiet = false;  // no progress bar
  bool first = true;   // false: leaves the work to another process that wants the same, and waits
  const ConversationTemplate* chat = nullptr;  // how conversations are read; null: they are refused
  int64_t part_tokens = int64_t{1} << 24;      // a process that was killed goes on after the last part
};

/// Opens what the entries name, in their order, as one corpus: text files (core/text/text_documents.h) and
/// directories of them (document_list.h), files of tokens (token_formats.h), or one directory of token shards.
/// `setting` names the key or flag that holds the paths, for messages. Weights are not looked at. InputError
/// for a path that is missing, cannot be read, is damaged, or holds no text.
std::unique_ptr<Corpus> open_corpus_of(const std::vector<DataEntry>& entries, const Tokenizer& tokenizer,
                                       const std::string& setting = "data.train",
                                       const ReadOptions& options = {});
/// The same of plain paths.
std::unique_ptr<Corpus> open_corpus(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                    const std::string& setting = "data.train",
                                    const ReadOptions& options = {});

}  // namespace natrix
