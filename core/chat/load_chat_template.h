// The chat template of a model's directory, and the special tokens that it prints.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/chat/chat_template.h"

namespace natrix {

struct LoadedChatTemplate {
  ChatTemplate chat_template;
  std::string bos_token, eos_token;  // empty: the tokenizer has none
};

/// Looks for chat_template.jinja, then "chat_template" in chat_template.json, then in tokenizer_config.json, where
/// it is a string, or a list of {"name", "template"}: "tool_use" if tools are given and there is one, else "default".
/// Nothing if there is none. InputError for one that natrix cannot read.
std::optional<LoadedChatTemplate> find_chat_template(const std::string& directory, bool with_tools = false);
/// The same of the contents of these files, by name, which come from `origin`.
std::optional<LoadedChatTemplate> find_chat_template_in(const std::map<std::string, std::string>& files,
                                                        const std::string& origin, bool with_tools = false);
/// The first, with an InputError that lists the places if there is none.
LoadedChatTemplate load_chat_template(const std::string& directory, bool with_tools = false);

}  // namespace natrix
