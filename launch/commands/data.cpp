// natrix data: texts into token shards, and a check of shards that are there.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/report/progress.h"
#include "core/report/units.h"
#include "core/text/token_shards.h"
#include "kernels/base/check.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/commands/number_flags.h"

namespace natrix {
namespace {

struct DataFlags {
  std::vector<std::string> paths;
  std::string out, tokenizer = "bytes";
  int64_t shard_tokens = kShardTokens;
  bool check = false, json = false, quiet = false;
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
  if (flags.out.empty()) throw InputError("--out DIR is required: where the token shards go");
  check_shard_output(flags.out);
  const auto tokenizer = make_tokenizer(flags.tokenizer);
  const auto corpus = open_corpus(flags.paths, *tokenizer, "PATH");
  const auto summary = [&] {
    Progress progress("writing", corpus->size(), "tokens", {.quiet = flags.quiet});
    return write_token_shards(*corpus, *tokenizer, flags.paths, flags.out, flags.shard_tokens,
                              [&](int64_t done) { progress.advance(done); });
  }();
  print_summary(flags, flags.out, summary);
  return 0;
}

}  // namespace

void add_data(CLI::App& app, Action& chosen) {
  CLI::App* c = add_command(app, "data", "Turn texts into token shards that data.train may name");
  auto flags = std::make_shared<DataFlags>();
  as_path(c->add_option("PATH", flags->paths, "Files, and directories of files; a file is a document"))
      ->required();
  as_path(c->add_option("-o,--out", flags->out, "Directory to write; it must not exist, or be empty"));
  as_path(c->add_option("--tokenizer", flags->tokenizer, "Tokenizer of the text: bytes"))
      ->capture_default_str();
  add_integer_flag(*c, "--shard-tokens", flags->shard_tokens, 1, int64_t{1} << 40, "Most tokens in a file");
  c->add_flag("--check", flags->check,
              "PATH is a directory of token shards: compare its checksums and counts")
      ->excludes("--tokenizer", "--shard-tokens");
  c->add_flag("--json", flags->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", flags->quiet, "No progress, no remarks");
  c->footer(
      "Examples:\n"
      "  natrix data books/ notes.txt --out shards\n"
      "  natrix data shards --check");
  c->callback([flags, &chosen] {
    chosen = [flags] { return flags->check ? check_shards(*flags) : make_shards(*flags); };
  });
}

}  // namespace natrix
