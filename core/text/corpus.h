// Corpus: documents laid out as one virtual sequence of tokens.
//
//   EOD doc1 EOD doc2 EOD … docN EOD
//
// The separator stands before each document and is its first input: what is carried from before is forgotten
// there, so changing one document changes nothing of another. After a document's last byte the target is EOD,
// whatever document comes next. A tokenizer without EOD gives  doc1 doc2 … docN.
//
// A document is one file. Nothing is kept in memory but the documents' sizes;
// read() makes tokens as they are needed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/text/source_files.h"
#include "core/text/tokenizer.h"

namespace natrix {

class Corpus {
 public:
  virtual ~Corpus() = default;

  virtual std::string name() const = 0;  // where it comes from, for messages
  virtual int64_t size() const = 0;      // tokens, separators included; at least 1
  virtual int64_t documents() const = 0;
  virtual int64_t eod() const = 0;  // kNoEod: there are no separators
  /// Tokens [begin, begin + count). starts[i], unless null: 1 where token i is the first of its document (its
  /// separator, where there is one), else 0. Any number of threads may read at once.
  virtual void read(int64_t begin, int64_t count, int64_t* tokens, uint8_t* starts) const = 0;
  /// Bytes of text that tokens [begin, begin + count) stand for; separators are no text.
  virtual int64_t text_bytes(int64_t begin, int64_t count) const = 0;
  /// What it is read from, in order.
  virtual std::vector<DataFile> files() const = 0;
};

/// Files, directories (core/text/document_list.h), or token shards: one directory of them, or all files of
/// one, in whatever order. `key` names the setting that holds the paths, for messages. InputError for a path
/// that is missing, cannot be read, or holds no text.
std::unique_ptr<Corpus> open_corpus(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                                    const std::string& key = "data.train");

}  // namespace natrix
