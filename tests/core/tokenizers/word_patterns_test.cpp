// Matchers by hand against their regular expressions.
#include "core/tokenizers/word_patterns.h"

#include <gtest/gtest.h>
#include <string>

#include "core/tokenizers/regex.h"
#include "core/tokenizers/utf8.h"
#include "tests/kernels/cases.h"

namespace natrix::test {
namespace {

// \s as White_Space, which the expressions of tokenizers mean.
const std::string kSpace = R"(\p{Z}\x{9}-\x{d}\x{85})";
const std::string kSpaces = "|[" + kSpace + "]+(?![^" + kSpace + "])|[" + kSpace + "]+";
const std::string kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^)" + kSpace + R"(\p{L}\p{N}]+)" + kSpaces;
std::string llama3(const std::string& digits) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" + digits + "| ?[^" + kSpace +
         R"(\p{L}\p{N}]+[\r\n]*|[)" + kSpace + R"(]*[\r\n]+)" + kSpaces;
}

std::string any_text(Random& random) {
  const std::vector<uint32_t> some = {' ',   ' ',    ' ',    '\n',   '\r',  '\t',    '\'',   's',    'S',
                                      'l',   'L',    'r',    'e',    'v',   'm',     't',    'd',    'x',
                                      '1',   '2',    '.',    '!',    0x17F, 0xE9,    0xA0,   0x85,   0xB2,
                                      0x301, 0x4E2D, 0x2028, 0x3000, 0x663, 0x1F389, 0x180E, 0x212A, 0};
  std::string text;
  for (int64_t n = random.integer(1, 30); n > 0; --n)
    append_utf8(text, some[static_cast<size_t>(random.integer(0, static_cast<int64_t>(some.size()) - 1))]);
  return text;
}

void expect_equal(WordEnd by_hand, const std::string& pattern) {
  const Regex regex(pattern, "test");
  Random random;
  for (int i = 0; i < 20000; ++i) {
    const std::string text = any_text(random);
    for (size_t at = 0; at < text.size();) {
      const auto want = regex.find(text, at);
      ASSERT_TRUE(want && want->first == at) << testing::PrintToString(text) << random.seed();
      ASSERT_EQ(by_hand(text, at), want->second)
          << testing::PrintToString(text) << " at " << at << ", " << random.seed();
      at = want->second;
    }
  }
}

TEST(WordPatterns, Gpt2) {
  expect_equal(gpt2_word_end, kGpt2);
}

TEST(WordPatterns, Llama3AndQwen2) {
  const std::string spelled =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  expect_equal(known_pattern(spelled), llama3("{1,3}"));
  std::string qwen2 = spelled;
  expect_equal(known_pattern(qwen2.replace(qwen2.find("{1,3}"), 5, "")), llama3(""));
  EXPECT_EQ(known_pattern(spelled + "|x"), nullptr);
}

}  // namespace
}  // namespace natrix::test
