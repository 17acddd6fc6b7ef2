// natrix generate --prompts: a file of prompts, continued together.
#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/generate/prompt_batch.h"
#include "core/report/progress.h"
#include "launch/api/text.h"
#include "launch/generate/generate_run.h"
#include "launch/generate/prompt_lines.h"
#include "launch/generate/token_json.h"

namespace natrix {
namespace {

using Json = nlohmann::ordered_json;

class PromptFile {
 public:
  explicit PromptFile(GenerateRun& run)
      : run_(run),
        flags_(run.flags()),
        lines_(read_prompt_lines(flags_.prompts, run.vocabulary())),
        tokenizer_(find_tokenizer()),
        rules_(run.stop_rules(tokenizer_.get())),
        prefix_(run.model(), run.context(), 1, flags_.common.chunk, /*records=*/false),
        resumed_(run.open_state(prefix_)),
        results_(lines_.size()),
        logprobs_(lines_.size(), Json::array()) {
    for (const PromptLine& line : lines_) rows_.push_back(row_of(line));
  }

  int run() {
    const auto start = std::chrono::steady_clock::now();
    double reading = 0;
    {
      Progress progress("prompts", std::ssize(lines_), "prompts",
                        {.quiet = run_.quiet() || !flags_.common.json});
      PromptBatch batch(run_.model(), run_.context(), rows_,
                        {.together = flags_.parallel,
                         .chunk = flags_.common.chunk,
                         .prefix = resumed_ ? &prefix_ : nullptr},
                        {.read =
                             [&](size_t row, double seconds) {
                               run_.note_reading(std::ssize(rows_[row].prompt), seconds);
                               reading += seconds;
                             },
                         .drawn = [&](size_t row, auto logits, int64_t token) { note(row, logits, token); },
                         .ended =
                             [&](size_t row) {
                               progress.advance(1);
                               return end(row);
                             },
                         .explain = [&](size_t row) { return explain(row); }});
      batch.run();
    }
    if (std::ferror(stdout) != 0) return 1;  // nobody reads on
    int64_t generated = 0;
    for (const PromptRow& r : rows_) generated += std::ssize(r.continuation.tokens());
    run_.report({}, generated, seconds_since(start) - reading, {{"results", std::move(results_)}});
    return 0;
  }

 private:
  /// A file of tokens alone needs none.
  std::unique_ptr<Tokenizer> find_tokenizer() const {
    const bool text = !flags_.stop.empty() ||
                      std::ranges::any_of(lines_, [](const PromptLine& l) { return l.text.has_value(); });
    return (text ? text_tokenizer : text_tokenizer_if_any)(flags_.tokenizer, run_.directory(),
                                                           run_.vocabulary());
  }

  PromptRow row_of(const PromptLine& line) const {
    std::vector<int64_t> prompt = line.text ? tokenizer_->encode(*line.text) : line.tokens;
    if (prompt.empty() && !(resumed_ && prefix_.pending())) {
      if (tokenizer_->eod() == kNoEod)
        throw InputError(
            fmt::format("--prompts {}: a prompt is empty, and this model has no token that starts "
                        "a document",
                        flags_.prompts));
      prompt = {tokenizer_->eod()};
    }
    SamplerConfig sampler = run_.sampler();
    if (line.seed) sampler.seed = *line.seed;
    StopRules rules = rules_;
    if (line.max_tokens) rules.tokens = *line.max_tokens;
    return {.prompt = std::move(prompt),
            .sampler = Sampler(sampler),
            .continuation = Continuation(tokenizer_.get(), std::move(rules))};
  }

  void note(size_t row, std::span<const float> logits, int64_t token) {
    if (!flags_.wants_logprobs() || std::ranges::find(rules_.ids, token) != rules_.ids.end()) return;
    logprobs_[row].push_back(
        logprobs_json(log_probabilities(logits, token, flags_.logprobs), tokenizer_.get()));
  }

  /// Results are printed in the order of the file, each as soon as those before it are there.
  /// False if nobody reads them.
  bool end(size_t row) {
    results_[row] = result(row);
    if (flags_.common.json) return true;
    for (; printed_ < rows_.size() && !results_[printed_].is_null(); ++printed_)
      print_json(results_[printed_]);
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  }

  Json result(size_t row) {
    const PromptLine& line = lines_[row];
    const Continuation& text = rows_[row].continuation;
    Json json = {{"index", row}};
    if (!line.id.empty()) json["id"] = Json::parse(line.id);
    if (tokenizer_) json["text"] = text.text();
    if (!line.text) json["tokens"] = text.tokens();
    add_finish(json, text);
    if (flags_.wants_logprobs()) json["logprobs"] = std::move(logprobs_[row]);
    json["prompt_tokens"] = rows_[row].prompt.size();
    json["generated"] = text.tokens().size();
    return json;
  }

  std::string explain(size_t row) {
    return run_.where_nonfinite(1, [&](Session& again) {
      again.feed(as_row(rows_[row].prompt).view());
      again.feed(as_row(rows_[row].continuation.tokens()).view());
    });
  }

  GenerateRun& run_;
  const GenerateFlags& flags_;
  std::vector<PromptLine> lines_;
  std::unique_ptr<Tokenizer> tokenizer_;
  StopRules rules_;
  Session prefix_;
  bool resumed_;
  std::vector<PromptRow> rows_;
  std::vector<Json> results_, logprobs_;
  size_t printed_ = 0;
};

}  // namespace

int generate_prompts(GenerateRun& run) {
  return PromptFile(run).run();
}

}  // namespace natrix
