#include "launch/generate/chat_format.h"

#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/chat/load_chat_template.h"
#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/gguf/gguf_file.h"
#include "kernels/base/check.h"
#include "launch/api/model_files.h"

namespace natrix {

std::string render_chatml(const nlohmann::json& messages, bool add_generation_prompt) {
  std::string text;
  for (const nlohmann::json& m : messages) {
    text += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", m.at("role").get_ref<const std::string&>(),
                        m.at("content").get_ref<const std::string&>());
  }
  return add_generation_prompt ? text + "<|im_start|>assistant\n" : text;
}

ChatFormat find_chat_format(const std::string& name, const std::string& dir) {
  if (name == "chatml") return render_chatml;
  auto found =
      is_gguf_path(dir) ? find_chat_template_in(model_tokenizer_files(dir), dir) : find_chat_template(dir);
  if (name.empty() && !found) {
    throw InputError(
        fmt::format("{} has no chat template: say how it divides a conversation: --chat-template chatml, or "
                    "a file with a template",
                    dir));
  }
  if (!name.empty()) {
    if (!std::filesystem::is_regular_file(name))
      throw InputError(
          fmt::format("--chat-template {}: expected chatml, or a file with a template", excerpt(name)));
    ChatTemplate other(std::string(MappedFile(name).text()), name);
    found =
        LoadedChatTemplate{std::move(other), found ? found->bos_token : "", found ? found->eos_token : ""};
  }
  return [loaded = std::make_shared<LoadedChatTemplate>(std::move(*found))](const nlohmann::json& messages,
                                                                            bool add_generation_prompt) {
    return loaded->chat_template.render(messages, {.bos_token = loaded->bos_token,
                                                   .eos_token = loaded->eos_token,
                                                   .add_generation_prompt = add_generation_prompt});
  };
}

}  // namespace natrix
