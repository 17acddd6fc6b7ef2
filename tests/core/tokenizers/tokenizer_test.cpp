#include "core/tokenizers/tokenizer.h"

#include "tests/core/text_helpers.h"

namespace natrix::test {
namespace {

TEST(ByteTokenizer, EncodesEveryByteAsItself) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const auto tokenizer = make_tokenizer("bytes");
  const auto ids = tokenizer->encode(all);
  ASSERT_EQ(ids.size(), 256u);
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], static_cast<int64_t>(i));
  EXPECT_EQ(tokenizer->decode(ids), all);
  EXPECT_EQ(tokenizer->name(), "bytes");
  EXPECT_TRUE(tokenizer->encode("").empty());
}

TEST(ByteTokenizer, VocabularyFollowsTheModel) {
  EXPECT_EQ(make_tokenizer("bytes")->vocab_size(), 257);
  EXPECT_EQ(make_tokenizer("bytes")->eod(), 256);
  EXPECT_EQ(make_tokenizer("bytes", 257)->eod(), 256);
  EXPECT_EQ(make_tokenizer("bytes", 256)->vocab_size(), 256);
  EXPECT_EQ(make_tokenizer("bytes", 256)->eod(), kNoEod);
  EXPECT_EQ(make_tokenizer("bytes", 320)->vocab_size(), 257);  // a padded vocabulary
}

TEST(ByteTokenizer, IdsWithoutTextDecodeToNothing) {
  const std::vector<int64_t> ids = {'a', 256, 300, -1, 'b'};
  EXPECT_EQ(make_tokenizer("bytes", 320)->decode(ids), "ab");
}

TEST(MakeTokenizer, SaysWhatItSupports) {
  expect_error<InputError>([] { make_tokenizer("gpt2"); }, {"'gpt2'", "supported: bytes"});
  expect_error<InputError>([] { make_tokenizer("bytes", 255); }, {"255", "257"});
}

class StreamDecoderTest : public testing::Test {
 protected:
  std::vector<std::string> pieces(const std::string& text) {
    StreamDecoder stream(*tokenizer_);
    std::vector<std::string> result;
    for (const int64_t id : tokenizer_->encode(text)) result.push_back(stream.push(id));
    result.push_back(stream.finish());
    return result;
  }
  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer("bytes");
};

TEST_F(StreamDecoderTest, HoldsACharacterBackUntilItIsComplete) {
  EXPECT_EQ(pieces("aé€𝄞"), (std::vector<std::string>{"a", "", "é", "", "", "€", "", "", "", "𝄞", ""}));
  EXPECT_EQ(pieces("\xE2\x82"), (std::vector<std::string>{"", "", "\xE2\x82"}));  // ends inside a character
  EXPECT_EQ(pieces("\xE2"
                   "a"),
            (std::vector<std::string>{"",
                                      "\xE2"
                                      "a",
                                      ""}));                                                  // breaks off
  EXPECT_EQ(pieces("\x80\xFF\xC0"), (std::vector<std::string>{"\x80", "\xFF", "\xC0", ""}));  // never UTF-8
}

TEST_F(StreamDecoderTest, LosesNothing) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    auto text = random_bytes(random, 60);
    for (char& c : text) c = static_cast<char>(random() % 2 == 0 ? c | 0xC0 : c & 0xBF);  // many lead bytes
    std::string joined;
    for (const auto& piece : pieces(text)) joined += piece;
    EXPECT_EQ(joined, text);
  }
}

TEST_F(StreamDecoderTest, EndOfDocumentHoldsNothingBack) {
  StreamDecoder stream(*tokenizer_);
  EXPECT_EQ(stream.push(256), "");
  EXPECT_EQ(stream.push('x'), "x");
}

}  // namespace
}  // namespace natrix::test
