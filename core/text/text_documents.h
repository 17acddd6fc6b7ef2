// TextDocuments: reads text files, compressed or not, piece by piece and in order.
//
// A plain file is one document. A file of JSON lines (.jsonl, .ndjson, or one that a key was given for) has a
// document in each line that is not empty.
//
// A document is one piece, so that a tokenizer sees all of it. Only plain documents beyond kWholeDocument are
// cut, so that memory stays small and several threads can work: at a line end between two characters that
// are not white space, where byte-level tokenizers cut in any case.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/text/byte_stream.h"

namespace natrix {

struct TextFile {
  std::string path;
  int64_t size = 0;            // bytes, compressed or not
  bool records = false;        // JSON lines
  bool conversations = false;  // the records are conversations
  std::string key;             // the member that holds the text or the messages; empty: "text" or "messages"
};

/// Where reading goes on. After the last piece of a file it may still name that file.
struct TextPosition {
  int64_t file = 0, offset = 0;  // offset in the decompressed bytes
  int64_t line = 0;              // lines of the file read so far, of JSON lines
  bool inside = false;           // in the middle of a document
};

struct TextPiece {
  std::string text;  // of JSON lines: the line, not yet parsed
  size_t file = 0;
  int64_t line = 0;  // from 1, of JSON lines
  bool starts_document = true;
  TextPosition after;
};

inline constexpr int64_t kWholeDocument = int64_t{4} << 20;
inline constexpr int64_t kLongestLine = int64_t{1} << 30;  // of JSON lines

class TextDocuments {
 public:
  /// `files` must outlive the reader.
  explicit TextDocuments(const std::vector<TextFile>& files, TextPosition from = {});
  /// The next piece, or nothing after the last. InputError as ByteStream, and for a line beyond kLongestLine.
  std::optional<TextPiece> next();
  /// Bytes of the files themselves that have been read, for progress.
  int64_t consumed() const;

 private:
  bool open();
  bool fill();
  std::optional<TextPiece> next_line();
  std::optional<TextPiece> next_text();
  TextPiece take(int64_t count);

  const std::vector<TextFile>& files_;
  TextPosition at_;
  std::unique_ptr<ByteStream> stream_;
  std::string buffer_;
  size_t begin_ = 0;  // of what is not yet taken from buffer_
  bool ended_ = false;
  int64_t consumed_before_ = 0;  // of files that are done
};

/// Whether the first record of a file of JSON lines is a conversation: the key holds a list, or there is no
/// "text" beside "messages". Then all its records are.
bool holds_conversations(const TextFile& file);

/// A line of JSON that is a conversation, with its keys in order. InputError unless the key holds a list of objects
/// with a "role" each, and "tools", if it is there, a list or null.
nlohmann::ordered_json conversation_of_record(const std::string& line, const std::string& key,
                                              const std::string& origin);

/// The text of a line of JSON. `origin` is "FILE:LINE". InputError unless the line is an object in which `key`
/// holds a string.
std::string text_of_record(const std::string& line, const std::string& key, const std::string& origin);

}  // namespace natrix
