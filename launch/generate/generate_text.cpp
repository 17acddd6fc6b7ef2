// natrix generate --prompt, --prompt-file: text in, text out.
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/ranks/ranks.h"
#include "core/sequence/diagnose.h"
#include "launch/api/text.h"
#include "launch/generate/prompt_text.h"
#include "launch/generate/token_json.h"

namespace natrix {
namespace {

/// Prints a text while it grows: as it is, or as a line for each token with --logprobs, or with --json not at
/// all.
class TextPrinter {
 public:
  TextPrinter(const GenerateFlags& flags, const Tokenizer& tokenizer)
      : flags_(flags), tokenizer_(tokenizer) {}

  void show(const std::string& piece) {
    if (!flags_.common.json && !flags_.wants_logprobs()) std::cout << piece << std::flush;
  }
  void show(View logits, int64_t token) {
    if (!flags_.wants_logprobs()) return;
    const LogProbabilities p =
        log_probabilities({logits.as<float>(), static_cast<size_t>(logits.cols())}, token, flags_.logprobs);
    if (flags_.common.json) {
      logprobs_.push_back(logprobs_json(p, &tokenizer_));
    } else {
      std::cout << logprobs_line(p, tokenizer_) << std::endl;
    }
  }
  void finish() {
    if (!flags_.common.json && !flags_.wants_logprobs() && flags_.count > 0) std::cout << std::endl;
  }
  nlohmann::ordered_json result(const Continuation& text) {
    nlohmann::ordered_json json = {{"text", text.text()}};
    add_finish(json, text);
    if (flags_.wants_logprobs()) json["logprobs"] = std::move(logprobs_);
    return json;
  }

 private:
  const GenerateFlags& flags_;
  const Tokenizer& tokenizer_;
  nlohmann::ordered_json logprobs_ = nlohmann::ordered_json::array();
};

}  // namespace

int generate_text(GenerateRun& run) {
  const GenerateFlags& flags = run.flags();
  const auto tokenizer = text_tokenizer(flags.tokenizer, run.directory(), run.vocabulary());
  Continuation text(tokenizer.get(), run.stop_rules(tokenizer.get()));
  Session session(run.model(), run.context(), 1, flags.common.chunk);
  Decoder decoder(session, run.sampler(), {});
  const bool resumed = run.open_state(session);
  const auto begin = std::chrono::steady_clock::now();
  const int64_t read = read_prompt(run, session, &decoder, *tokenizer, run.ranks().ranks());
  if (!run.ranks().first()) return 0;  // the first rank goes on alone
  run.note_reading(read, seconds_since(begin));
  if (read == 0 && !resumed) {
    if (tokenizer->eod() == kNoEod)
      throw InputError("generate needs a prompt: --prompt, --prompt-file or --state-in");
    session.feed(as_row({tokenizer->eod()}).view());  // an empty prompt is the start of a document
  }
  if (!session.pending() && !text.ended())
    throw InputError("the state holds no token to go on from; give a prompt, too");

  std::vector<int64_t> written;
  GenerateRun::Feed feed = [&](Session& again) {
    OneProcess alone;
    if (read_prompt(run, again, nullptr, *tokenizer, alone.ranks()) == 0 && !resumed)
      again.feed(as_row({tokenizer->eod()}).view());
    if (!written.empty()) again.feed(as_row(written).view());
  };
  if (flags.prompt_file == "-") feed = {};
  TextPrinter printer(flags, *tokenizer);
  const auto start = std::chrono::steady_clock::now();
  while (!text.ended()) {
    written.push_back(*decoder.next([&] { return run.where_nonfinite(1, feed); }).as<int64_t>());
    const std::string piece = text.push(written.back());
    if (text.end() != Continuation::End::kStopId) printer.show(decoder.logits(), written.back());
    printer.show(piece);
    if (!std::cout) return 1;  // nobody reads on, so nobody wants the state either
  }
  printer.finish();
  run.close_state(session, feed);
  run.report(session.position(), std::ssize(text.tokens()), seconds_since(start), printer.result(text));
  return 0;
}

}  // namespace natrix
