#include "core/chat/assistant_spans.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/base/check.h"

namespace natrix {

RenderedChat assistant_spans(const ChatTemplate& chat_template, const nlohmann::ordered_json& messages,
                             const ChatContext& context) {
  ChatContext plain = context, prompted = context;
  plain.add_generation_prompt = false;
  prompted.add_generation_prompt = true;
  if (chat_template.marks_generation()) return chat_template.render_marked(messages, plain);
  RenderedChat chat{chat_template.render(messages, plain), {}};
  auto first = nlohmann::ordered_json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool reply = messages[i].is_object() && messages[i].value("role", "") == "assistant";
    const std::string before = reply ? chat_template.render(first, prompted) : "";
    first.push_back(messages[i]);
    if (!reply) continue;
    const std::string after = chat_template.render(first, plain);
    if (!chat.text.starts_with(after) || !after.starts_with(before)) {
      throw InputError(
          fmt::format("message {}: the chat template is not incremental: the text up to this reply is no "
                      "prefix of the whole; use a template with {{% generation %}}",
                      i));
    }
    chat.assistant.emplace_back(before.size(), after.size());
  }
  return chat;
}

}  // namespace natrix
