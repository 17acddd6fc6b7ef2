#include "core/chat/chat_template.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/chat/evaluator.h"
#include "core/chat/lexer.h"
#include "core/chat/template_parser.h"
#include "kernels/base/check.h"

namespace natrix {

struct ChatTemplate::Parsed {
  chat::Body body;

  template <class Json>
  RenderedChat render(const Json& messages, const ChatContext& context, const std::string& where,
                      bool needs_places) const;
};

namespace {

bool has_generation(const chat::Body& body) {
  return std::any_of(body.begin(), body.end(), [](const chat::Statement& s) {
    return s.tag == chat::Tag::kGeneration || has_generation(s.body) || has_generation(s.otherwise);
  });
}

/// An object or list in either order of keys; none if there is neither.
chat::Value either(const nlohmann::ordered_json* ordered, const nlohmann::json* sorted,
                   chat::Budget& budget) {
  if (ordered) return chat::from_json(*ordered, budget);
  return sorted ? chat::from_json(*sorted, budget) : chat::Value(nullptr);
}

void define_context(chat::Evaluator& evaluator, const ChatContext& context, chat::Budget& budget) {
  evaluator.define("tools", either(context.ordered_tools, context.tools, budget));
  evaluator.define("documents", chat::Value(nullptr));
  evaluator.define("add_generation_prompt", chat::Value(context.add_generation_prompt));
  if (!context.bos_token.empty()) evaluator.define("bos_token", chat::Value::text(context.bos_token));
  if (!context.eos_token.empty()) evaluator.define("eos_token", chat::Value::text(context.eos_token));
  const chat::Value extra = either(context.ordered_extra, context.extra, budget);
  if (extra.is_none()) return;
  if (!extra.dict()) {
    throw chat::Fault(
        fmt::format("the variables of the template are {}; expected an object", chat::type_name(extra)));
  }
  for (const auto& [name, value] : extra.dict()->entries) evaluator.define(name.text()->bytes, value);
}

}  // namespace

template <class Json>
RenderedChat ChatTemplate::Parsed::render(const Json& messages, const ChatContext& context,
                                          const std::string& where, bool needs_places) const {
  if (!messages.is_array()) throw InputError(fmt::format("{}: the messages are no list", where));
  chat::Budget budget;
  chat::Evaluator evaluator(budget, context.now);
  try {
    evaluator.define("messages", chat::from_json(messages, budget));
    define_context(evaluator, context, budget);
    RenderedChat rendered{evaluator.render(body), evaluator.generated()};
    if (needs_places && evaluator.generated_elsewhere()) {
      throw chat::Fault(
          "{% generation %} in a macro or a {% set %} block, so its place in the text is not known");
    }
    return rendered;
  } catch (const chat::Fault& fault) {
    throw InputError(fmt::format("{}:{}: {}", where, evaluator.line(), fault.what()));
  }
}

ChatTemplate::ChatTemplate(const std::string& source, std::string where) : where_(std::move(where)) {
  try {
    parsed_ = std::make_unique<const Parsed>(Parsed{chat::parse_template(source)});
  } catch (const chat::SyntaxFault& fault) {
    throw InputError(fmt::format("{}:{}: {}", where_, fault.line, fault.message));
  }
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const nlohmann::json& messages, const ChatContext& context) const {
  return parsed_->render(messages, context, where_, false).text;
}

std::string ChatTemplate::render(const nlohmann::ordered_json& messages, const ChatContext& context) const {
  return parsed_->render(messages, context, where_, false).text;
}

bool ChatTemplate::marks_generation() const {
  return has_generation(parsed_->body);
}

RenderedChat ChatTemplate::render_marked(const nlohmann::ordered_json& messages,
                                         const ChatContext& context) const {
  return parsed_->render(messages, context, where_, true);
}

}  // namespace natrix
