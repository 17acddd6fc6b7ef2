// ChatTemplate: a model's own Jinja template, which turns a conversation into the text that the model reads.
//
// It renders what transformers' apply_chat_template renders. docs/chat.md lists the part of Jinja that natrix knows.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace natrix {

/// What a template sees besides the messages. The names are those of transformers' apply_chat_template.
struct ChatContext {
  std::string bos_token, eos_token;  // empty: undefined in the template
  bool add_generation_prompt = false;
  const nlohmann::json* tools = nullptr;  // a list; null: none in the template
  const nlohmann::json* extra = nullptr;  // an object of further variables, or null
  /// The same with the keys of objects in the order of the file. Templates print objects, so only these give the
  /// text that transformers gives; nlohmann::json sorts keys. Each takes precedence over the one above.
  const nlohmann::ordered_json* ordered_tools = nullptr;
  const nlohmann::ordered_json* ordered_extra = nullptr;
  std::optional<int64_t> now =
      {};  // seconds since 1970 for strftime_now, shown in local time; empty: the clock
};

/// What a template rendered, and which part of it is to be learnt.
struct RenderedChat {
  std::string text;
  std::vector<std::pair<size_t, size_t>> assistant =
      {};  // ranges of bytes [begin, end) in the text, in order
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
  /// (raise_exception), for a wrong type, and beyond the limits on depth, output and time (core/chat/limits.h).
  /// The message names file and line. Any number of threads may render at once.
  std::string render(const nlohmann::json& messages, const ChatContext& context) const;
  std::string render(const nlohmann::ordered_json& messages, const ChatContext& context) const;

  /// Whether the template marks with {% generation %} what the assistant writes.
  bool marks_generation() const;
  /// The text with the ranges that {% generation %} marks. InputError also if one is where its place in the text is
  /// not known: in a macro or a {% set %} block.
  RenderedChat render_marked(const nlohmann::ordered_json& messages, const ChatContext& context) const;

 private:
  struct Parsed;
  std::unique_ptr<const Parsed> parsed_;
  std::string where_;
};

}  // namespace natrix
