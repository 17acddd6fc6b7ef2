// natrix eval: loss, perplexity, bits per byte and loss by position of held-out text.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/io/checkpoint_dir.h"
#include "core/report/memory.h"
#include "core/report/progress.h"
#include "core/sequence/diagnose.h"
#include "core/train/evaluate.h"
#include "distributed/mpi_communicator.h"
#include "launch/api/text.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/commands/number_flags.h"
#include "launch/reading_ranks.h"

namespace natrix {
namespace {

struct EvalFlags {
  CommonFlags common;
  std::string model, tokenizer;
  std::vector<std::string> settings, data;
  int64_t context = 0, batch = 8;
  bool joined = false;
};

void print_text(const EvalFigures& f, int64_t context) {
  fmt::print(
      "mean loss {:.6f} nats\nperplexity {:.4f}\nbits per byte {:.4f}\n{} predictions over {} bytes, {}\n",
      f.loss(), f.perplexity(), f.bits_per_byte(), f.predictions, f.bytes,
      context == 0 ? std::string("each document in one sequence") : fmt::format("context {}", context));
  fmt::print("\n{:>12}  {:>12}  {:>8}\n", "position", "predictions", "loss");
  for (const EvalFigures::Bucket& b : f.by_position) {
    if (b.predictions > 0) fmt::print("{:>12}  {:>12}  {:>8.4f}\n", b.from, b.predictions, b.loss());
  }
}

void print_figures(const EvalFigures& f, int64_t context) {
  nlohmann::ordered_json j = {{"loss", f.loss()},
                              {"perplexity", f.perplexity()},
                              {"bits_per_byte", f.bits_per_byte()},
                              {"predictions", f.predictions},
                              {"bytes", f.bytes},
                              {"context", context},
                              {"peak_memory_bytes", peak_resident_bytes()}};
  for (const EvalFigures::Bucket& b : f.by_position) {
    if (b.predictions > 0)
      j["loss_by_position"].push_back({{"from", b.from}, {"predictions", b.predictions}, {"loss", b.loss()}});
  }
  print_json(j);
}

int evaluate_text(const EvalFlags& flags, const Program& program) {
  const Reads reads = flags.context == 0 ? Reads::kOneText : Reads::kRows;
  const std::string dir = resolve_model_dir(flags.model);
  ReadingRanks ranks(flags.settings, reads, flags.common, dir, program);
  Context& ctx = ranks.context();
  const int64_t vocabulary = *read_checkpoint_model(
                                  dir, [](const std::string&) {}, program.kinds)
                                  .vocab_size;
  const auto tokenizer = text_tokenizer(flags.tokenizer, dir, vocabulary);
  const std::shared_ptr<const Corpus> corpus =
      open_corpus(flags.data, *tokenizer, "--data",
                  {.quiet = flags.common.quiet || !ranks.first(), .first = ranks.first()});
  const Documents documents = flags.joined ? Documents::kJoined : Documents::kPacked;
  AssembledModel model = ranks.load_model();
  ranks.require_agreement(
      *model, {{"what --data names on the host", identity_of(*corpus), "give all hosts the same files"},
               {"a flag", fmt::format("{} {} {}", flags.context, flags.batch, flags.joined),
                "start all ranks with the same flags"}});
  pack_for_reading(*model, ctx, flags.common);

  Progress progress("reading", corpus->size(), "tokens", {.quiet = flags.common.quiet || !ranks.first()});
  const auto advance = [&](int64_t n) { progress.advance(n); };
  const EvalFigures figures =
      reads == Reads::kOneText
          ? evaluate_stream(*model, ctx, *corpus, documents, flags.common.chunk, ranks.ranks(), advance)
          : evaluate(*model, ctx, EvalWindows(corpus, documents, flags.context, corpus->size()), flags.batch,
                     flags.common.chunk, ranks.ranks(), advance);
  if (!figures.nonfinite.empty())
    throw NonfiniteError(fmt::format("the loss is {}: {}", digits(figures.loss()), figures.nonfinite));
  if (figures.predictions == 0) {
    throw InputError(fmt::format("--data: {} has nothing to predict; give more text", corpus->name()));
  }
  if (!ranks.first()) return 0;
  flags.common.json ? print_figures(figures, flags.context) : print_text(figures, flags.context);
  flags.common.announce(ctx);
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "eval", "Loss, perplexity and bits per byte of held-out text, by position");
  auto f = std::make_shared<EvalFlags>();
  add_model_argument(*c, f->model);
  add_ranks_argument(*c, f->settings);
  as_path(c->add_option("--data", f->data, "Files, directories or token shards"))->required();
  add_integer_flag(*c, "-c,--context,--ctx-size", f->context, 0, int64_t{1} << 40,
                   "Tokens a window; 0: each document in one sequence, however long");
  add_integer_flag(*c, "-b,--batch-size", f->batch, 1, int64_t{1} << 20,
                   "With --context: windows read at once");
  as_path(c->add_option("--tokenizer", f->tokenizer, "Tokenizer of the text; the model's own unless given"));
  c->add_flag("--joined", f->joined, "Carry states from one document into the next");
  add_common_flags(*c, f->common);
  add_weights_flag(*c, f->common);
  c->footer(
      "Examples:\n"
      "  natrix eval runs/quickstart --data held-out.txt --context 4096\n"
      "  mpirun -n 4 natrix eval runs/quickstart --data book.txt\n"
      "  mpirun -n 4 natrix eval runs/quickstart --data held-out/ -c 65536 parallel.cp=2\n"
      "Ranks read one text together (cp), and share out windows (dp), unless parallel.* says otherwise.\n"
      "Where the loss is not finite the status is 1, and --json prints null and the reason.");
  c->callback([f, &chosen, &program] {
    for (std::string& s : take_settings(f->data)) f->settings.push_back(std::move(s));
    chosen = [f, &program] {
      return report_nonfinite(f->common.json, program.session.rank() == 0, "loss",
                              [&] { return evaluate_text(*f, program); });
    };
  });
}

}  // namespace natrix
