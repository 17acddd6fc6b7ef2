// ChatTemplate: a model's own Jinja template, which turns a conversation into the text that the model reads.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace natrix {

/// What a template sees besides the messages. The names are those of transformers' apply_chat_template.
struct ChatContext {
  std::string bos_token, eos_token;
  bool add_generation_prompt = false;
  const nlohmann::json* tools = nullptr;  // a list; null: undefined in the template
  const nlohmann::json* extra = nullptr;  // an object of further variables, or null
};

class ChatTemplate {
 public:
  /// Parses the template. `where` names its file in messages. InputError with the line of anything outside of the
  /// subset that natrix knows (docs/chat.md).
  ChatTemplate(const std::string& source, std::string where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// messages: a list of {"role", "content", …}. InputError for what the template itself refuses
  /// (raise_exception), for a wrong type, and beyond the limits on depth, output and time.
  std::string render(const nlohmann::json& messages, const ChatContext& context) const;

 private:
  struct Parsed;
  const Parsed* parsed_;
  std::string where_;
};

}  // namespace natrix
