// Rendering, refusals and limits of chat templates.
#include "core/chat/chat_template.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/chat/assistant_spans.h"
#include "kernels/base/check.h"
#include "tests/core/io_helpers.h"

namespace natrix {
namespace {

using nlohmann::ordered_json;
using test::mentions;
using test::message_of;

std::string rendered(const std::string& source) {
  return ChatTemplate(source, "t.jinja").render(ordered_json::array(), {});
}

std::string chat_refusal(const std::string& source) {
  return message_of<InputError>([&] { rendered(source); });
}

TEST(ChatTemplate, WhitespaceControlIsThatOfJinja) {
  EXPECT_EQ(rendered("a\n  {% if true %}\n  b\n  {%- endif %}\n c {{- 1 }}\n"), "a\n  b c1");
}

TEST(ChatTemplate, SetInALoopStaysThereAndANamespaceDoesNot) {
  EXPECT_EQ(rendered("{% set x = 0 %}{% set n = namespace(x=0) %}{% for i in range(3) %}{% set x = x + i %}"
                     "{% set n.x = n.x + i %}{% endfor %}{{ x }} {{ n.x }}"),
            "0 3");
}

TEST(ChatTemplate, ValuesPrintAsPythonPrintsThem) {
  EXPECT_EQ(
      rendered(
          "{{ [none, true, 1.0, 'a', {'k': (1,)}] }} {{ 'é' | length }} {{ {'b': 'é', 'a': 1} | tojson }}"),
      "[None, True, 1.0, 'a', {'k': (1,)}] 1 {\"b\": \"é\", \"a\": 1}");
}

TEST(ChatTemplate, RefusalsNameFileLineAndConstruct) {
  EXPECT_TRUE(mentions(chat_refusal("\n{% include 'x' %}"), "t.jinja:2:"));
  EXPECT_TRUE(mentions(chat_refusal("\n{% include 'x' %}"), "include"));
  EXPECT_TRUE(mentions(chat_refusal("{{ x | wordwrap }}"), "t.jinja:1:"));
  EXPECT_TRUE(mentions(chat_refusal("{{ x | wordwrap }}"), "wordwrap"));
  EXPECT_TRUE(mentions(chat_refusal("\n\n{{ raise_exception('no') }}"), "t.jinja:3:"));
  EXPECT_TRUE(mentions(chat_refusal("\n\n{{ raise_exception('no') }}"), "no"));
  EXPECT_TRUE(mentions(chat_refusal("{{ 'a"), "t.jinja:1:"));
  EXPECT_TRUE(mentions(chat_refusal("{{ 'a"), "quote"));
  EXPECT_TRUE(mentions(chat_refusal("{% if x %}"), "endif"));
}

TEST(ChatTemplate, LimitsEndWhatWouldNotEnd) {
  EXPECT_TRUE(mentions(chat_refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "nested"));
  EXPECT_TRUE(mentions(chat_refusal("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"),
                       "nested"));
  EXPECT_TRUE(mentions(chat_refusal("{{ 'a' * 1000000000000 }}"), "repeated"));
  EXPECT_TRUE(mentions(chat_refusal("{{ range(1000000000) }}"), "range"));
}

TEST(AssistantSpans, AreWhatRepliesAddToThePrompt) {
  const ChatTemplate chat_template(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}",
      "t.jinja");
  const auto messages =
      ordered_json::parse(R"([{"role":"user","content":"u"},{"role":"assistant","content":"yes"}])");
  const RenderedChat chat = assistant_spans(chat_template, messages, {});
  ASSERT_EQ(chat.assistant.size(), 1u);
  const auto [begin, end] = chat.assistant[0];
  EXPECT_EQ(chat.text.substr(begin, end - begin), "yes;");
}

}  // namespace
}  // namespace natrix
