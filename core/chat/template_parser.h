// Parser of whole templates.
#pragma once

#include <string>

#include "core/chat/syntax.h"

namespace natrix::chat {

/// SyntaxFault for what is malformed or outside of the subset (docs/chat.md).
Body parse_template(const std::string& source);

}  // namespace natrix::chat
