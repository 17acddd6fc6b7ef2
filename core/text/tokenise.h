// Turns the pieces of text documents into tokens, on several threads and in order.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/text/conversation.h"
#include "core/text/text_documents.h"
#include "core/tokenizers/tokenizer.h"

namespace natrix {

struct TokenPiece {
  std::vector<int64_t> ids;
  std::vector<uint8_t> loss;  // of each id: 1 if it is to be predicted; empty: all are
  bool learns_end = true;     // the end of the document is to be predicted after its last piece
  int64_t text_bytes = 0;
  bool starts_document = true;
  TextPosition after;
};

/// What the text of conversations and other documents becomes. `chat` may be null where there are no
/// conversations.
struct TextReader {
  const Tokenizer& tokenizer;
  const ConversationTemplate* chat = nullptr;
};

/// Calls take(piece) in this thread for every piece from `from` on, in order. `read` is called now and then
/// with the bytes of the files that were read since the last call. threads = 0: as many as the machine has.
/// InputError for a file that is not what it should be: of several faults the first.
void tokenise(const std::vector<TextFile>& files, TextPosition from, const TextReader& reader, int threads,
              const std::function<void(const TokenPiece&)>& take, const std::function<void(int64_t)>& read);

}  // namespace natrix
