// The part of a conversation that the assistant wrote, for training on conversations.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "core/chat/chat_template.h"

namespace natrix {

/// Renders `messages` with the byte ranges that the assistant wrote: those that {% generation %} marks, if the
/// template has it. Otherwise each is what a reply adds to the prompt before it; InputError if the template is not
/// incremental, that is if the text of the first messages is not a prefix of the whole text.
RenderedChat assistant_spans(const ChatTemplate& chat_template, const nlohmann::ordered_json& messages,
                             const ChatContext& context);

}  // namespace natrix
