// Damaged templates: an error or a text, never a crash, a hang or a huge allocation.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/chat/chat_template.h"
#include "kernels/base/check.h"
#include "tests/kernels/cases.h"

namespace natrix::test {
namespace {

const std::vector<std::string> kTemplates = {
    R"({%- set ns = namespace(n=0) %}{%- for m in messages if m.role != 'tool' %}{{- '<|im_start|>' ~ m['role'] + '\n' }}
{%- if m.content is string %}{{ m.content | trim }}{%- else %}{%- for p in m.content %}{{ p.text | default('', true) }}{% endfor %}
{%- endif %}{% set ns.n = ns.n + 1 %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})",
    R"({% macro show(x, deep=2) %}{% if x is mapping %}{% for k, v in x | dictsort %}{{ k }}={{ show(v) if deep > 0 else v | tojson }}{% if not loop.last %},{% endif %}
{% endfor %}{% elif x is iterable and x is not string %}{{ x | map('string') | join('; ') }}{% else %}{{ x }}{% endif %}{% endmacro %}
{{ bos_token }}{% for m in messages[::-1] %}{{ loop.index0 }} {{ m.role.upper() }}: {{ show(m) }} {{ "%5.2f|%s" % (1.5, m.role) }}
{% if m.role not in ['user', 'assistant', 'system'] %}{{ raise_exception('role ' ~ m.role) }}{% endif %}{% endfor %}{{ range(3) | list | tojson(indent=2) }})"};

/// Bytes are removed, doubled, swapped and replaced by pieces of the language.
std::string mutated(Random& random, std::string text) {
  const std::vector<std::string> pieces = {"{%",
                                           "%}",
                                           "{{",
                                           "}}",
                                           "-",
                                           "(",
                                           ")",
                                           "[",
                                           "]",
                                           "'",
                                           "|",
                                           "for",
                                           "in",
                                           "if",
                                           "endif",
                                           "endfor",
                                           "set",
                                           "=",
                                           "range(99999999)",
                                           "loop",
                                           ".",
                                           ":",
                                           "\xff",
                                           "not "};
  for (int64_t n = random.integer(1, 4); n > 0 && !text.empty(); --n) {
    const auto at = static_cast<size_t>(random.integer(0, static_cast<int64_t>(text.size()) - 1));
    const auto length = static_cast<size_t>(random.integer(1, 12));
    switch (random.integer(0, 3)) {
      case 0: text.erase(at, length); break;
      case 1: text.insert(at, text.substr(at, length)); break;
      case 2: std::swap(text[at], text[(at + length) % text.size()]); break;
      default:
        text.insert(at,
                    pieces[static_cast<size_t>(random.integer(0, static_cast<int64_t>(pieces.size()) - 1))]);
    }
  }
  return text;
}

TEST(ChatMutation, DamagedTemplatesAreErrorsOrTexts) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  const auto messages = nlohmann::ordered_json::parse(
      R"([{"role": "system", "content": "be brief"}, {"role": "user", "content": [{"text": " a "}]}, {"role": "assistant", "content": "b"}])");
  int texts = 0, errors = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string text = mutated(random, kTemplates[static_cast<size_t>(i) % kTemplates.size()]);
    try {
      const ChatTemplate chat(text, "damaged");
      texts += chat.render(messages, {.bos_token = "<s>", .add_generation_prompt = true}).empty() ? 0 : 1;
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find("damaged"), std::string::npos) << e.what();
      ++errors;
    }
  }
  EXPECT_GT(texts, 100);
  EXPECT_GT(errors, 100);
}

}  // namespace
}  // namespace natrix::test
