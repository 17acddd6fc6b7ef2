// A session that follows a growing text is where a session would be that read the text as a whole.
#include "launch/generate/chat_session.h"

#include <gtest/gtest.h>

#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

class ChatSessionOn : public ::testing::TestWithParam<std::string> {
 protected:
  ChatSessionOn() {
    ModelConfig config = small_config(GetParam(), 1);
    config.vocab_size = 257;
    model_ = small_model(config, Dtype::kF32);
  }
  Session session() { return Session(*model_, ctx_, 1, 16); }
  void feed(Session& s, const std::string& text) const {
    std::vector<int64_t> ids = bytes_->encode(text);
    s.feed(View(ids.data(), Dtype::kI64, {1, std::ssize(ids)}));
  }
  /// Whether the next logits are those after `text`.
  void expect_after(Session& s, const std::string& text) {
    Session whole = session();
    feed(whole, text);
    EXPECT_EQ(s.position(), std::ssize(text));
    EXPECT_LT(relative_difference(s.logits(), whole.logits()), 1e-5) << text;
  }
  void write(Session& s, ChatSession& chat, const std::string& answer) {
    for (const char byte : answer) {
      s.logits();
      chat.write(static_cast<unsigned char>(byte));
    }
  }

  Context ctx_{Backend::kCpu};
  AssembledModel model_;
  std::unique_ptr<Tokenizer> bytes_ = make_tokenizer("bytes", 257);
};

TEST_P(ChatSessionOn, FeedsOnlyWhatIsNew) {
  Session s = session();
  ChatSession chat(s, *bytes_, "", session());
  EXPECT_EQ(chat.read("u: hi\n", "u: hi\na: ").fed.size(), 9u);
  write(s, chat, "ho");
  const auto reading = chat.read("u: hi\na: ho\nu: so\n", "u: hi\na: ho\nu: so\na: ");
  EXPECT_EQ(reading.fed, bytes_->encode("\nu: so\na: "));
  EXPECT_EQ(reading.given_up, 0);
  expect_after(s, "u: hi\na: ho\nu: so\na: ");
}

TEST_P(ChatSessionOn, GoesBackToTheLastPlaceThatIsStillTheSame) {
  Session s = session();
  ChatSession chat(s, *bytes_, "", session());
  chat.read("u: hi\n", "u: hi\na: <think>");
  write(s, chat, "hm</think>ho");
  const auto reading = chat.read("u: hi\na: ho\nu: so\n", "u: hi\na: ho\nu: so\na: <think>");
  EXPECT_EQ(reading.given_up, std::ssize(std::string("a: <think>hm</think>ho")));
  EXPECT_EQ(reading.fed, bytes_->encode("a: ho\nu: so\na: <think>"));
  expect_after(s, "u: hi\na: ho\nu: so\na: <think>");
  // Another beginning: all of it again.
  EXPECT_EQ(chat.read("s: x\nu: hi\n", "s: x\nu: hi\na: ").fed.size(), 14u);
  expect_after(s, "s: x\nu: hi\na: ");
  EXPECT_TRUE(chat.reset());
  chat.read("u: oh\n", "u: oh\na: ");
  expect_after(s, "u: oh\na: ");
}

TEST_P(ChatSessionOn, ATokenWithoutTextIsNotForgotten) {
  Session s = session();
  ChatSession chat(s, *bytes_, "", session());
  chat.read("u: hi\n", "u: hi\na: ");
  s.logits();
  chat.write(256);
  EXPECT_EQ(chat.read("u: hi\na: \nu: so\n", "u: hi\na: \nu: so\na: ").given_up, 4);
  expect_after(s, "u: hi\na: \nu: so\na: ");
}

TEST_P(ChatSessionOn, WhatCannotBeReadAgainIsRefused) {
  Session s = session();
  feed(s, "a book. u: hi\na: ");
  ChatSession chat(s, *bytes_, "u: hi\na: ");
  EXPECT_FALSE(chat.reset());
  EXPECT_THROW(chat.read("u: ho\n", "u: ho\na: "), InputError);
}

INSTANTIATE_TEST_SUITE_P(Models, ChatSessionOn, ::testing::Values("ME", "M*"),
                         [](const auto& info) { return info.param == "ME" ? "mamba_moe" : "hybrid"; });

}  // namespace
}  // namespace natrix::test
