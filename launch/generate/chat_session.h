// ChatSession: a session that follows a text which grows, and which now and then is written differently.
//
// A conversation is rendered anew at every turn. Usually what was read is the beginning of the new text, and
// only the rest is fed: a turn costs its own tokens. Texts are compared and not token ids, because what the
// model wrote need not be how the tokenizer divides it. A recurrent state cannot forget, so where a template
// renders the past differently (it trims an answer, or leaves out what the model thought), the session goes
// back to the last place whose text is still the same, and reads on from there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/generate/session.h"
#include "core/tokenizers/tokenizer.h"

namespace natrix {

class ChatSession {
 public:
  /// session: borrowed; has read nothing, or a prefix that stays before all text. text: what of the
  /// conversation it has read already.
  ChatSession(Session& session, const Tokenizer& tokenizer, std::string text);
  /// The same for a conversation that began without a prefix: it can be read again from the beginning.
  /// beginning: a session that has read nothing.
  ChatSession(Session& session, const Tokenizer& tokenizer, std::string text, const Session& beginning);

  struct Reading {
    std::vector<int64_t> fed;  // tokens
    int64_t given_up = 0;      // that the session had read before, and went back over
  };
  /// Reads `text`, which begins with `history`: the part that the next turn probably renders alike.
  /// InputError if what was read before is no beginning of the text and cannot be undone.
  Reading read(const std::string& history, const std::string& text);
  /// Before the session is saved: makes sure that it has read nothing but a beginning of `history`.
  void settle(const std::string& history);
  /// Appends a token that the model has written.
  void write(int64_t token);
  /// Back to the beginning, before all text. False if it cannot go back there.
  bool reset();

  const std::string& text() const { return text_; }  // read and written so far

 private:
  struct Place {
    std::string text;
    CarryStates states;
    std::optional<int64_t> pending;
    int64_t position;
  };
  static Place place_of(const Session& session, std::string text);
  bool begins(const std::string& text) const { return exact_ && text.starts_with(text_); }
  void go_back_to_beginning_of(const std::string& text);
  void go_to(const Place& place);
  void feed(const std::string& text, Reading& reading);

  Session& session_;
  const Tokenizer& tokenizer_;
  std::string text_;
  bool exact_ = true;          // false: a token without text was written
  std::vector<Place> places_;  // where it can go back to; each text begins with the one before
};

}  // namespace natrix
