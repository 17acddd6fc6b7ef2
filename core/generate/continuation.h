// Continuation: the text that grows token by token, until one of the rules ends it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/generate/stop_text.h"
#include "core/tokenizers/tokenizer.h"

namespace natrix {

/// What ends a text.
struct StopRules {
  int64_t tokens = 128;                 // at most so many
  std::vector<int64_t> ids = {};        // ends of a document, and what else the user named
  std::vector<std::string> texts = {};  // not part of the text themselves
};

class Continuation {
 public:
  enum class End { kNone, kLength, kStopId, kStopText, kInterrupted };

  /// tokenizer: borrowed; null: there is no text, and no stop string is found. InputError for an empty stop
  /// string.
  Continuation(const Tokenizer* tokenizer, StopRules rules);

  /// Adds a token. Returns the text that can be shown now, in whole UTF-8 characters. When the text ends, that
  /// includes what was held back.
  std::string push(int64_t token);
  /// Ends the text here, for a reason outside of the rules. Returns what was held back.
  std::string interrupt();

  bool ended() const { return end_ != End::kNone; }
  End end() const { return end_; }
  /// What ended it.
  int64_t stop_id() const { return stop_id_; }
  const std::string& stop_text() const { return stop_text_.found(); }

  /// What push() returned so far.
  const std::string& text() const { return text_; }
  /// The tokens, those of a stop string included, without the id that ended the text.
  const std::vector<int64_t>& tokens() const { return tokens_; }

 private:
  std::string shown(std::string piece);
  std::string end_with(End end, std::string piece);

  StopRules rules_;
  std::optional<StreamDecoder> characters_;
  StopText stop_text_;
  End end_ = End::kNone;
  int64_t stop_id_ = -1;
  std::vector<int64_t> tokens_;
  std::string text_;
};

}  // namespace natrix
