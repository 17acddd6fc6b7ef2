// natrix data: a summary of data, texts into token shards, and a check of shards that are there.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/report/progress.h"
#include "core/report/units.h"
#include "core/text/chat_conversations.h"
#include "core/text/token_shards.h"
#include "kernels/base/check.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/commands/data_summary.h"
#include "launch/commands/number_flags.h"
#include "launch/config_source.h"
#include "launch/experiment.h"

namespace natrix {
namespace {

struct DataFlags {
  std::vector<std::string> paths;
  std::string out, config, key, tokenizer = "bytes";
  int64_t shard_tokens = kShardTokens;
  bool check = false, json = false, quiet = false;

  std::unique_ptr<ConversationTemplate> conversations() const {
    return tokenizer == "bytes" ? nullptr : conversations_of(tokenizer);
  }
  std::vector<DataEntry> entries() const {
    std::vector<DataEntry> all(paths.begin(), paths.end());
    for (DataEntry& entry : all) entry.key = key;
    return all;
  }
};

void print_summary(const DataFlags& flags, const std::string& dir, const ShardSummary& s) {
  if (flags.json) {
    print_json({{"dir", dir},
                {"tokenizer", s.tokenizer},
                {"vocab_size", s.vocab_size},
                {"tokens", s.tokens},
                {"documents", s.documents},
                {"text_bytes", s.text_bytes},
                {"shards", s.shards},
                {"token_bytes", s.token_bytes}});
    return;
  }
  fmt::print("{}: {} tokens of {} document{} in {} shard{}, {}{}\n", dir, s.tokens, s.documents,
             s.documents == 1 ? "" : "s", s.shards, s.shards == 1 ? "" : "s",
             human_bytes(s.tokens * s.token_bytes), flags.check ? ", undamaged" : "");
}

int check_shards(const DataFlags& flags) {
  refuse_named_shards(flags.paths, "PATH");
  if (flags.paths.size() != 1 || !flags.out.empty()) {
    throw InputError("--check takes one directory of token shards and no --out");
  }
  const std::string& dir = flags.paths[0];
  const int64_t tokens = read_shard_index(dir).summary.tokens;
  const auto summary = [&] {
    Progress progress("checking", tokens, "tokens", {.quiet = flags.quiet});
    return check_token_shards(dir, [&](int64_t done) { progress.advance(done); });
  }();
  print_summary(flags, dir, summary);
  return 0;
}

int make_shards(const DataFlags& flags) {
  check_shard_output(flags.out);
  const auto tokenizer = make_tokenizer(flags.tokenizer);
  const auto chat = flags.conversations();
  const auto corpus = open_corpus_of(flags.entries(), *tokenizer, "PATH",
                                     {.cache = {}, .quiet = flags.quiet, .chat = chat.get()});
  const auto summary = [&] {
    Progress progress("writing", corpus->size(), "tokens", {.quiet = flags.quiet});
    return write_token_shards(*corpus, *tokenizer, flags.paths, flags.out, flags.shard_tokens,
                              [&](int64_t done) { progress.advance(done); });
  }();
  print_summary(flags, flags.out, summary);
  return 0;
}

int print_summaries(const DataFlags& flags, const std::string& setting, const std::vector<DataEntry>& entries,
                    const Tokenizer& tokenizer, const ReadOptions& options) {
  double sum = 0;
  for (const DataEntry& entry : entries) sum += entry.weight.value_or(0);
  std::vector<SourceSummary> sources;
  for (const DataEntry& entry : entries) {
    const auto weight = entry.weight ? std::optional(*entry.weight / sum) : std::nullopt;
    const auto corpus = open_corpus_of({entry}, tokenizer, setting, options);
    sources.push_back(summarise(entry.path, weight, *corpus, tokenizer));
  }
  flags.json ? print_json(summary_json(sources, tokenizer)) : print_summary_table(sources);
  return 0;
}

/// The data of an experiment, or those that were named.
int summarise_data(const DataFlags& flags) {
  if (flags.config.empty()) {
    if (flags.paths.empty()) throw InputError("PATH is missing: name files or directories, or --config FILE");
    refuse_named_shards(flags.paths, "PATH");
    const auto chat = flags.conversations();
    return print_summaries(flags, "PATH", flags.entries(), *make_tokenizer(flags.tokenizer),
                           {.cache = {}, .quiet = flags.quiet, .chat = chat.get()});
  }
  if (!flags.paths.empty()) throw InputError("PATH and --config are both given; keep one of them");
  const Experiment e = resolve_experiment(load_config(flags.config, {}).loaded);
  if (e.config.data.train.empty())
    throw InputError(fmt::format("{}: has no data.train to summarise", flags.config));
  return print_summaries(flags, "data.train", e.config.data.train, *e.tokenizer,
                         e.read_options(true, flags.quiet));
}

int run_data(const DataFlags& flags) {
  if (flags.check) return check_shards(flags);
  if (flags.out.empty()) return summarise_data(flags);
  if (flags.paths.empty() || !flags.config.empty()) throw InputError("--out takes PATHs, and no --config");
  return make_shards(flags);
}

}  // namespace

void add_data(CLI::App& app, Action& chosen) {
  CLI::App* c = add_command(app, "data", "Summarise data, or turn them into token shards");
  auto flags = std::make_shared<DataFlags>();
  as_path(c->add_option("PATH", flags->paths, "Files, and directories of files: text, JSON lines, tokens"));
  as_path(c->add_option("-o,--out", flags->out,
                        "Directory of token shards to write; it must not exist, or be empty"));
  as_path(
      c->add_option("--config", flags->config, "Summarise data.train of this experiment, with its weights"));
  c->add_option("--key", flags->key, "Of JSON lines: the member that holds the text (default: text)");
  as_path(c->add_option("--tokenizer", flags->tokenizer, "Tokenizer of the text: bytes"))
      ->capture_default_str();
  add_integer_flag(*c, "--shard-tokens", flags->shard_tokens, 1, int64_t{1} << 40, "Most tokens in a file");
  c->add_flag("--check", flags->check,
              "PATH is a directory of token shards: compare its checksums and counts")
      ->excludes("--tokenizer", "--shard-tokens", "--config", "--key");
  c->add_flag("--json", flags->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", flags->quiet, "No progress, no remarks");
  c->footer(
      "Examples:\n"
      "  natrix data books/ notes.jsonl.zst\n"
      "  natrix data books/ notes.txt --out shards\n"
      "  natrix data shards --check");
  c->callback([flags, &chosen] { chosen = [flags] { return run_data(*flags); }; });
}

}  // namespace natrix
