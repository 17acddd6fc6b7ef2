// Corpus: documents as one virtual sequence of tokens.
//
//   EOD doc1 EOD doc2 EOD … docN EOD
//
// A separator precedes each document and is its first input. Carried states are reset there, so a change in
// one document does not affect another. The target after a document's last byte is EOD, whichever document
// follows. A tokenizer without EOD gives  doc1 doc2 … docN.
//
// A document is one file. Only the documents' sizes are kept in memory; read() makes tokens when
// they are needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

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
  /// The number of bytes of text of tokens [begin, begin + count). Separators have none.
  virtual int64_t text_bytes(int64_t begin, int64_t count) const = 0;
  /// The files that it is read from, in order.
  virtual std::vector<DataFile> files() const = 0;
};

/// Opens files and directories of text (core/text/document_list.h), or one directory of token shards. `key`
/// names the setting that holds the paths, for messages. InputError for a path that is missing, cannot be
/// read, or holds no text.
std::unique_ptr<Corpus> open_corpus(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                    const std::string& key = "data.train");

}  // namespace natrix
