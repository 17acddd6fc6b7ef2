// natrix generate --chat: a conversation as a user has it, through a pipe.
#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/tiny_run.h"

namespace natrix::test {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

std::string says(const std::string& role, const std::string& content) {
  return "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
}
const std::string kAnswer = "<|im_start|>assistant\n";

class GenerateChat : public ::testing::Test {
 protected:
  static Words chat(Words args) {
    args.insert(args.begin(), {"generate", trained_run(), "--chat", "--chat-template", "chatml", "--temp",
                               "0", "-n", "12"});
    return args;
  }
  static json converse(const Words& args, const std::string& input) {
    return natrix_json(chat(args), {.input = input});
  }
  static std::string answer_of(const json& r, size_t turn) { return r["turns"][turn]["assistant"]; }
  /// The answer to a text that is read as a whole.
  static std::string answer(const std::string& text) {
    return natrix_json({"generate", trained_run(), "-p", text, "--temp", "0", "-n", "12"})["text"];
  }
  ScratchDir scratch_;
};

TEST_F(GenerateChat, ATurnCostsItsOwnTokensAndReadsLikeTheWhole) {
  const json r = converse({"--system", "be brief"}, "the deep\n\nlet there\nand the light");
  ASSERT_EQ(r["turns"].size(), 3u);
  std::string text = says("system", "be brief");
  size_t read = 0;
  for (const json& turn : r["turns"]) {
    text += says("user", turn["user"]) + kAnswer;
    EXPECT_EQ(turn["assistant"], answer(text)) << text;
    EXPECT_EQ(turn["prompt_tokens"], text.size() - read) << "what was read is not read again";
    EXPECT_EQ(turn["generated"], 12);
    EXPECT_EQ(turn["finish_reason"], "length");
    text += turn["assistant"].get<std::string>();
    read = text.size();
    text += "<|im_end|>\n";
  }
  EXPECT_EQ(r["turns"][1]["user"], "let there");
  EXPECT_EQ(r["position"], read);
}

TEST_F(GenerateChat, AnswersGoToStdout) {
  const Outcome r =
      natrix_program(chat({"-q"}), {.input = "the deep\\\nwas\n/reset\nthe deep\n/exit\nno more\n"});
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.out, answer(says("user", "the deep\nwas") + kAnswer) + "\n" +
                       answer(says("user", "the deep") + kAnswer) + "\n");
  EXPECT_EQ(r.err, "");
}

TEST_F(GenerateChat, AnAnswerThatIsRenderedAnewIsReadAgain) {
  const std::string first = answer(says("user", "the deep") + kAnswer), stop = first.substr(4, 3);
  const std::string cut = first.substr(0, first.find(stop));
  const Outcome r = natrix_program(chat({"--stop", stop}), {.input = "the deep\nlet there\n"});
  const std::string text =
      says("user", "the deep") + says("assistant", cut) + says("user", "let there") + kAnswer;
  const std::string second = answer(text);
  EXPECT_EQ(r.out, cut + "\n" + second.substr(0, second.find(stop)) + "\n");
  EXPECT_THAT(r.err, HasSubstr("earlier turns are rendered anew; "));
}

TEST_F(GenerateChat, GoesOnFromAState) {
  const std::string state = scratch_ / "chat.state";
  const json whole = converse({}, "the deep\nlet there\nand the\n");
  converse({"--state-out", state}, "the deep\n");
  converse({"--state-in", state, "--state-out", state}, "let there\n");
  const json last = converse({"--state-in", state}, "and the\n");
  EXPECT_EQ(last["turns"][0], whole["turns"][2]);
  EXPECT_EQ(last["position"], whole["position"]);
  const json anew = converse({"--state-in", state}, "/reset\nthe deep\n");
  EXPECT_EQ(anew["turns"][0], whole["turns"][0]);
  const Outcome twice = natrix_program(chat({"--state-in", state, "--system", "be brief"}), {.input = "a\n"});
  EXPECT_EQ(twice.status, 2);
  EXPECT_THAT(twice.err, HasSubstr("holds a conversation that has begun"));
}

TEST_F(GenerateChat, FollowsAPrefix) {
  const std::string book = scratch_ / "book.state", state = scratch_ / "chat.state", before = "the waters. ";
  natrix_json({"generate", trained_run(), "-p", before, "-n", "0", "--state-out", book});
  const std::string first = answer(before + says("user", "the deep") + kAnswer);
  EXPECT_EQ(answer_of(converse({"--state-in", book}, "/reset\nthe deep\n"), 0), first);
  // What was read of a stop string is not saved.
  const std::string stop = first.substr(4, 3), cut = first.substr(0, first.find(stop));
  converse({"--state-in", book, "--state-out", state, "--stop", stop}, "the deep\n");
  const std::string text =
      before + says("user", "the deep") + says("assistant", cut) + says("user", "let") + kAnswer;
  EXPECT_EQ(answer_of(converse({"--state-in", state}, "let\n"), 0), answer(text));
  const Outcome reset = natrix_program(chat({"--state-in", state}), {.input = "/reset\n"});
  EXPECT_THAT(reset.err, HasSubstr("nothing before it to go back to"));
}

TEST_F(GenerateChat, AnAnswerThatAnIdEndedLeavesNoTokenPending) {
  const std::string state = scratch_ / "chat.state";
  const std::string first = answer(says("user", "the deep") + kAnswer);
  const json r =
      converse({"--stop-id", std::to_string(int{first[3]}), "--state-out", state}, "the deep\nlet there\n");
  const std::string cut = first.substr(0, first.find(first[3]));
  EXPECT_EQ(answer_of(r, 0), cut);
  EXPECT_EQ(r["turns"][1]["prompt_tokens"], ("<|im_end|>\n" + says("user", "let there") + kAnswer).size());
  const Outcome bare = natrix_program({"generate", trained_run(), "--state-in", state});
  EXPECT_EQ(bare.status, 2);
  EXPECT_THAT(bare.err, HasSubstr("give a prompt, too"));
}

TEST_F(GenerateChat, CtrlCStopsAnAnswerAndThenTheProgram) {
  Words args = chat({"-q", "--ignore-eos", "--logit-bias", "10-inf"});  // no line break in the answer
  *(std::find(args.begin(), args.end(), "-n") + 1) = "1000000000";
  std::string command = NATRIX_PROGRAM;
  for (const std::string& word : args) command += " '" + word + "'";
  const std::string script = R"sh(
    mkfifo in
    $PROGRAM <in >out 2>err &
    exec 3>in
    echo 'the deep' >&3
    until [ -s out ]; do sleep 0.01; done
    kill -INT $!
    until [ "$(tail -c1 out | od -An -tx1)" = ' 0a' ]; do sleep 0.01; done
    kill -INT $!
    wait $!
    echo "status $?"
  )sh";
  const std::string whole = "cd " + scratch_.path() + script;
  const size_t at = whole.find("$PROGRAM");
  const Outcome r = any_program({"bash", "-c", whole.substr(0, at) + command + whole.substr(at + 8)});
  EXPECT_EQ(r.out, "status 130\n") << read_file(scratch_ / "err");
  const std::string out = read_file(scratch_ / "out");
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
}

TEST_F(GenerateChat, SaysHowToDivideAConversation) {
  const Outcome none = natrix_program({"generate", trained_run(), "--chat"}, {.input = "a\n"});
  EXPECT_EQ(none.status, 2);
  EXPECT_THAT(none.err, HasSubstr("--chat-template chatml"));
  const Outcome odd =
      natrix_program({"generate", trained_run(), "--chat", "--chat-template", "odd"}, {.input = "a\n"});
  EXPECT_EQ(odd.status, 2);
  EXPECT_THAT(odd.err, HasSubstr("expected chatml"));
}

}  // namespace
}  // namespace natrix::test
