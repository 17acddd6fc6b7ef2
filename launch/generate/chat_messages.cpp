#include "launch/generate/chat_messages.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {

using nlohmann::json;

ChatMessages::ChatMessages(ChatFormat format, std::string system)
    : format_(std::move(format)), system_(std::move(system)), messages_(std::make_unique<json>()) {
  restart();
}

ChatMessages::~ChatMessages() = default;

void ChatMessages::add(const std::string& role, const std::string& content) {
  messages_->push_back({{"role", role}, {"content", content}});
}

void ChatMessages::restart() {
  *messages_ = json::array();
  if (!system_.empty()) add("system", system_);
}

std::string ChatMessages::history() const {
  return format_(*messages_, false);
}

std::string ChatMessages::prompt() const {
  return format_(*messages_, true);
}

std::string ChatMessages::to_note(const std::string& text_read, bool after_prefix) const {
  const json note = {{"messages", *messages_}, {"text", text_read}, {"after_prefix", after_prefix}};
  return note.dump(-1, ' ', false, json::error_handler_t::replace);
}

ChatMessages::Noted ChatMessages::from_note(const std::string& note, const std::string& origin) {
  const json value = parse_json(note, origin);
  if (!value.is_object()) throw InputError(fmt::format("{}: its note is no conversation", origin));
  const JsonObject object(value, origin);
  object.allow_only({"messages", "text", "after_prefix"});
  const json& messages = object.at("messages");
  if (!messages.is_array()) object.fail("messages", "a list");
  for (const json& message : messages) {
    if (!message.is_object()) object.fail("messages", "a list of objects");
    const JsonObject one(message, origin, "messages.");
    one.allow_only({"role", "content"});
    static_cast<void>(one.text("role") + one.text("content"));
  }
  if (!system_.empty())
    throw InputError(
        fmt::format("--system: {} holds a conversation that has begun; leave --system out", origin));
  *messages_ = messages;
  return {.text_read = object.text("text"), .after_prefix = object.boolean("after_prefix")};
}

}  // namespace natrix
