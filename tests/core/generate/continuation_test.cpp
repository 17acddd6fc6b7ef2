#include "core/generate/continuation.h"

#include <gtest/gtest.h>

namespace natrix {
namespace {

using End = Continuation::End;

class BytesContinued : public ::testing::Test {
 protected:
  std::unique_ptr<Tokenizer> bytes_ = make_tokenizer("bytes", 257);
};

std::vector<std::string> push_all(Continuation& c, const std::string& text) {
  std::vector<std::string> pieces;
  for (const char byte : text) {
    if (c.ended()) break;
    pieces.push_back(c.push(static_cast<unsigned char>(byte)));
  }
  return pieces;
}

TEST_F(BytesContinued, ShowsWholeCharacters) {
  Continuation c(bytes_.get(), {.tokens = 9});
  EXPECT_EQ(push_all(c, "aé€"), (std::vector<std::string>{"a", "", "é", "", "", "€"}));
  EXPECT_EQ(c.interrupt(), "");
  EXPECT_EQ(c.end(), End::kInterrupted);
}

TEST_F(BytesContinued, EndsByLengthAndThenShowsTheRest) {
  Continuation c(bytes_.get(), {.tokens = 3, .texts = {"bcd"}});
  EXPECT_EQ(push_all(c, "abcd"), (std::vector<std::string>{"a", "", "bc"}));
  EXPECT_EQ(c.end(), End::kLength);
  EXPECT_EQ(c.text(), "abc");
  EXPECT_TRUE(Continuation(bytes_.get(), {.tokens = 0}).ended());
}

TEST_F(BytesContinued, EndsWithAStopString) {
  Continuation c(bytes_.get(), {.tokens = 4, .texts = {"cd"}});
  push_all(c, "abcd");
  EXPECT_EQ(c.end(), End::kStopText);
  EXPECT_EQ(c.stop_text(), "cd");
  EXPECT_EQ(c.text(), "ab");
  EXPECT_EQ(c.tokens(), (std::vector<int64_t>{'a', 'b', 'c', 'd'}));
}

TEST_F(BytesContinued, EndsWithAnId) {
  Continuation c(bytes_.get(), {.ids = {256, 'z'}, .texts = {"bc"}});
  EXPECT_EQ(push_all(c, "abz"), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(c.end(), End::kStopId);
  EXPECT_EQ(c.stop_id(), 'z');
  EXPECT_EQ(c.text(), "ab");
  EXPECT_EQ(c.tokens(), (std::vector<int64_t>{'a', 'b'}));
}

TEST(Continuation, WithoutATokenizerCountsTokens) {
  Continuation c(nullptr, {.tokens = 2, .texts = {"a"}});
  c.push('a');
  EXPECT_FALSE(c.ended());
  c.push(300);
  EXPECT_EQ(c.end(), End::kLength);
  EXPECT_EQ(c.tokens(), (std::vector<int64_t>{'a', 300}));
  EXPECT_EQ(c.text(), "");
}

}  // namespace
}  // namespace natrix
