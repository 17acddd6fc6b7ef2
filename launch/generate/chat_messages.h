// ChatMessages: the messages of a chat so far, and the text that a format makes of them.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "launch/generate/chat_format.h"

namespace natrix {

class ChatMessages {
 public:
  /// system: the first message; "" for none.
  ChatMessages(ChatFormat format, std::string system);
  ~ChatMessages();

  void add(const std::string& role, const std::string& content);
  /// Forgets all messages but the system's.
  void restart();

  /// The messages so far, and the same with the beginning of an answer.
  std::string history() const;
  std::string prompt() const;

  /// As a state file keeps it: the messages, the text that the session has read of them, and whether the
  /// session had read a prefix before.
  std::string to_note(const std::string& text_read, bool after_prefix) const;
  struct Noted {
    std::string text_read;
    bool after_prefix;
  };
  /// Takes over the messages of a note; `origin` is its file. InputError for what to_note() does not write.
  Noted from_note(const std::string& note, const std::string& origin);

 private:
  ChatFormat format_;
  std::string system_;
  std::unique_ptr<nlohmann::json> messages_;
};

}  // namespace natrix
