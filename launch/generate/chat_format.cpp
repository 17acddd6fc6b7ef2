#include "launch/generate/chat_format.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "kernels/base/check.h"

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
  if (name.empty())
    throw InputError(
        fmt::format("{}: say how this model divides a conversation: --chat-template chatml", dir));
  throw InputError(fmt::format("--chat-template {}: expected chatml", excerpt(name)));
}

}  // namespace natrix
