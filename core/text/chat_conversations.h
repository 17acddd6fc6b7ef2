// Conversations by the chat template of a tokenizer's directory.
#pragma once

#include <memory>
#include <string>

#include "core/text/conversation.h"

namespace natrix {

/// path: a tokenizer.json or a directory, as data.tokenizer. Null if there is no chat template. InputError for one that
/// natrix cannot read.
std::unique_ptr<ConversationTemplate> conversations_of(const std::string& path);

}  // namespace natrix
