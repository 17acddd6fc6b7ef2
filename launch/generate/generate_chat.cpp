// natrix generate --chat: a conversation. Each line of standard input is a turn of the user, and the model
// answers.
#include <fmt/format.h>
#include <iostream>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "core/report/say.h"
#include "core/sequence/diagnose.h"
#include "launch/api/text.h"
#include "launch/generate/answer_interrupt.h"
#include "launch/generate/chat_messages.h"
#include "launch/generate/chat_session.h"
#include "launch/generate/generate_run.h"
#include "launch/generate/token_json.h"

namespace natrix {
namespace {

/// Reads the next turn, or returns false at the end of the input. A line that ends with a backslash goes on
/// in the next one.
bool read_turn(std::string& turn) {
  turn.clear();
  if (isatty(STDIN_FILENO) != 0) say("> ");
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.ends_with('\\')) {
      turn += line;
      return true;
    }
    line.back() = '\n';
    turn += line;
  }
  if (isatty(STDIN_FILENO) != 0) say("\n");
  return !turn.empty();
}

class Chat {
 public:
  explicit Chat(GenerateRun& run)
      : run_(run),
        flags_(run.flags()),
        tokenizer_(text_tokenizer(flags_.tokenizer, run.directory(), run.vocabulary())),
        rules_(run.stop_rules(tokenizer_.get())),
        sampler_(run.sampler()),
        conversation_(find_chat_format(flags_.chat_template, run.directory()), flags_.system),
        session_(run.model(), run.context(), 1, flags_.common.chunk) {
    open();
  }

  int run() {
    for (std::string turn; read_turn(turn);) {
      if (turn == "/exit") break;
      if (turn == "/reset") {
        reset();
      } else if (turn.find_first_not_of(" \t\r\n") != std::string::npos && !converse(turn)) {
        return 1;  // nobody reads on
      }
    }
    if (!flags_.state_out.empty()) chat_->settle(conversation_.history());
    run_.close_state(session_, {}, conversation_.to_note(chat_->text(), after_prefix_));
    run_.report(session_.position(), generated_, seconds_, {{"turns", std::move(turns_)}});
    return 0;
  }

 private:
  /// Begins where --state-in ended: in a conversation, or behind a prefix.
  void open() {
    const Session beginning(run_.model(), run_.context(), 1, flags_.common.chunk, /*records=*/false);
    after_prefix_ = run_.open_state(session_);
    std::string text;
    if (!run_.state_note().empty()) {
      const ChatMessages::Noted noted = conversation_.from_note(run_.state_note(), flags_.state_in);
      text = noted.text_read;
      after_prefix_ = noted.after_prefix;
    }
    if (after_prefix_) {
      chat_.emplace(session_, *tokenizer_, text);
    } else {
      chat_.emplace(session_, *tokenizer_, text, beginning);
    }
  }

  void reset() {
    if (!chat_->reset()) {
      say("natrix: the state holds this conversation alone, and nothing before it to go back to\n");
      return;
    }
    conversation_.restart();
    sampler_ = Sampler(run_.sampler());
  }

  bool converse(const std::string& turn) {
    conversation_.add("user", turn);
    const auto begin = std::chrono::steady_clock::now();
    const ChatSession::Reading reading = chat_->read(conversation_.history(), conversation_.prompt());
    run_.note_reading(std::ssize(reading.fed), seconds_since(begin));
    for (const int64_t token : reading.fed) sampler_.accept(token);
    if (reading.given_up > 0 && !run_.quiet()) {
      say(fmt::format("natrix: earlier turns are rendered anew; {} tokens are read again\n",
                      reading.given_up));
    }
    const Continuation text = answer();
    conversation_.add("assistant", text.text());
    nlohmann::ordered_json result = {{"user", turn}, {"assistant", text.text()}};
    add_finish(result, text);
    result["prompt_tokens"] = reading.fed.size();
    result["generated"] = text.tokens().size();
    turns_.push_back(std::move(result));
    return static_cast<bool>(std::cout);
  }

  /// Writes an answer. The id that ends it is not fed: the template writes the end of a turn itself.
  Continuation answer() {
    const auto start = std::chrono::steady_clock::now();
    Continuation text(tokenizer_.get(), rules_);
    interrupt_.answer_begins();
    while (!text.ended() && std::cout) {
      if (interrupt_.asked()) {
        show(text.interrupt());
        break;
      }
      const int64_t token = draw();
      show(text.push(token));
      if (text.end() != Continuation::End::kStopId) chat_->write(token);
    }
    interrupt_.answer_ends();
    if (!flags_.common.json) std::cout << std::endl;
    generated_ += std::ssize(text.tokens());
    seconds_ += seconds_since(start);
    return text;
  }

  int64_t draw() {
    const View logits = session_.logits();
    try {
      const int64_t token = sampler_.sample({logits.as<float>(), static_cast<size_t>(logits.cols())});
      sampler_.accept(token);
      return token;
    } catch (const NonfiniteLogits&) {
      throw NonfiniteError(fmt::format("the logits at position {} are not finite: {}",
                                       session_.position() - 1, run_.where_nonfinite(1, {})));
    }
  }

  void show(const std::string& piece) {
    if (!flags_.common.json) std::cout << piece << std::flush;
  }

  GenerateRun& run_;
  const GenerateFlags& flags_;
  std::unique_ptr<Tokenizer> tokenizer_;
  StopRules rules_;
  Sampler sampler_;
  ChatMessages conversation_;
  Session session_;
  std::optional<ChatSession> chat_;
  AnswerInterrupt interrupt_;
  bool after_prefix_ = false;
  nlohmann::ordered_json turns_ = nlohmann::ordered_json::array();
  int64_t generated_ = 0;
  double seconds_ = 0;
};

}  // namespace

int generate_chat(GenerateRun& run) {
  return Chat(run).run();
}

}  // namespace natrix
