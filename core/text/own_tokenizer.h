// The tokenizer in a model's directory: whether natrix can use it, and its files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "core/tokenizers/tokenizer.h"

namespace natrix {

struct OwnTokenizer {
  enum class Kind {
    kNone,   // there is no tokenizer file
    kBytes,  // a byte-level tokenizer.json: ours or an equivalent one
    kJson,   // any other tokenizer.json; core/tokenizers reads it, or refuses it by name
    kOther   // a tokenizer of another format; natrix cannot read text with it
  };
  Kind kind = Kind::kNone;
  std::string dir;                                // its directory, if kBytes or kJson …
  std::map<std::string, std::string> files = {};  // … or the contents of its files, if it has no directory
  bool has_end = false;                           // if kBytes: id 256 ends a document
  std::string what;                               // the file and what it is, for messages
};

/// Reads tokenizer.json, or else looks for files of older formats. InputError if tokenizer.json is not valid
/// JSON.
OwnTokenizer tokenizer_of(const std::string& dir);

/// Whether natrix may be able to read a text for a model of `vocab_size` ids: its tokenizer is kBytes or kJson, or
/// it has no tokenizer and has 256 or 257 ids.
bool may_read_text(const OwnTokenizer& own, int64_t vocab_size);

/// The tokenizer of such a model. For any other model an InputError, whose message ends in `advice`.
std::unique_ptr<Tokenizer> make_own_tokenizer(const OwnTokenizer& own, int64_t vocab_size,
                                              std::string_view advice);

/// The contents of a directory's tokenizer files by name, to copy into checkpoints made from it.
std::map<std::string, std::string> tokenizer_files(const std::string& dir);

}  // namespace natrix
