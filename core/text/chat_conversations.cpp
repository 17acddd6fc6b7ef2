#include "core/text/chat_conversations.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/chat/assistant_spans.h"
#include "core/chat/load_chat_template.h"
#include "core/files/xxhash64.h"

namespace natrix {
namespace {

namespace fs = std::filesystem;

// The files that a chat template and the special tokens in it can come from.
constexpr const char* kFiles[] = {"chat_template.jinja", "chat_template.json", "tokenizer_config.json",
                                  "special_tokens_map.json"};

class ChatConversations final : public ConversationTemplate {
 public:
  ChatConversations(const std::string& directory, LoadedChatTemplate plain)
      : plain_(std::move(plain)), with_tools_(load_chat_template(directory, true)) {
    for (const char* name : kFiles) {
      const fs::path file = fs::path(directory) / name;
      if (fs::exists(file)) identity_ += std::string(name) + " " + hash_file(file) + " ";
    }
  }

  std::string identity() const override { return identity_; }

  Conversation render(const nlohmann::ordered_json& messages,
                      const nlohmann::ordered_json* tools) const override {
    const LoadedChatTemplate& chosen = tools != nullptr ? with_tools_ : plain_;
    const RenderedChat chat = assistant_spans(
        chosen.chat_template, messages,
        {.bos_token = chosen.bos_token, .eos_token = chosen.eos_token, .ordered_tools = tools});
    Conversation conversation{.text = chat.text, .assistant = {}};
    for (const auto& [begin, end] : chat.assistant)
      conversation.assistant.emplace_back(static_cast<int64_t>(begin), static_cast<int64_t>(end));
    return conversation;
  }

 private:
  LoadedChatTemplate plain_, with_tools_;
  std::string identity_;
};

}  // namespace

std::unique_ptr<ConversationTemplate> conversations_of(const std::string& path) {
  const fs::path directory = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
  auto plain = find_chat_template(directory);
  return plain ? std::make_unique<ChatConversations>(directory, std::move(*plain)) : nullptr;
}

}  // namespace natrix
