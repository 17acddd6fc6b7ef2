// Conversations: JSON lines that hold {"messages": […]}. A chat template turns one into the text that the model
// reads, and says which parts of it the assistant spoke: only these are learnt.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace natrix {

struct Conversation {
  std::string text;
  std::vector<std::pair<int64_t, int64_t>> assistant;  // bytes [begin, end) of the text, in order, apart
};

class ConversationTemplate {
 public:
  virtual ~ConversationTemplate() = default;
  /// Equal for templates that make the same text of the same messages.
  virtual std::string identity() const = 0;
  /// messages: a list of objects with a "role" each; tools: a list, or null if there are none. Keys are in the order
  /// of the file, because templates print objects. InputError for what the template refuses. Any number of
  /// threads may call it at once.
  virtual Conversation render(const nlohmann::ordered_json& messages,
                              const nlohmann::ordered_json* tools) const = 0;
};

}  // namespace natrix
