// The tokenizer that a model's directory brings: what natrix can make of it, and its files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/text/tokenizer.h"

namespace natrix {

struct OwnTokenizer {
  enum class Kind {
    kNone,   // no file of a tokenizer
    kBytes,  // a tokenizer.json that is byte-level: ours, or one that does the same
    kOther   // anything else: natrix cannot read its text
  };
  Kind kind = Kind::kNone;
  bool has_end = false;  // of kBytes: 256 ends a document
  std::string what;      // the file and what it is, for messages
};

/// Looks at tokenizer.json, else for the files of older kinds. InputError for a tokenizer.json that is no
/// JSON.
OwnTokenizer tokenizer_of(const std::string& dir);

/// Whether a model of `vocab_size` ids reads bytes: its own tokenizer does, or it has none and 256 or 257
/// ids.
bool reads_bytes(const OwnTokenizer& own, int64_t vocab_size);

/// The tokenizer of the text of such a model. InputError for any other, which ends in `advice`.
std::unique_ptr<Tokenizer> make_own_tokenizer(const OwnTokenizer& own, int64_t vocab_size,
                                              std::string_view advice);

/// The files of a directory's tokenizer that a checkpoint made from it takes along, by name.
std::map<std::string, std::string> tokenizer_files(const std::string& dir);

}  // namespace natrix
