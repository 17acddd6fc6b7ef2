// ChatFormat: how the messages of a conversation become the text that the model reads.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace natrix {

/// messages: a list of {"role", "content"}. add_generation_prompt: the text ends with the beginning of an answer.
using ChatFormat = std::function<std::string(const nlohmann::json& messages, bool add_generation_prompt)>;

/// ChatML, the form of many models:
///   <|im_start|>ROLE
///   CONTENT<|im_end|>
std::string render_chatml(const nlohmann::json& messages, bool add_generation_prompt);

/// --chat-template: "" for the model's own template (core/chat/load_chat_template.h), the name of a format that
/// natrix knows ("chatml"), or a file with a Jinja template. InputError if there is no such template.
ChatFormat find_chat_format(const std::string& name, const std::string& dir);

}  // namespace natrix
