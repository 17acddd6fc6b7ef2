// natrix score: logits and loss of given tokens, streamed to a file chunk by chunk.
#include "launch/api/score.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/safetensors.h"
#include "core/io/checkpoint_dir.h"
#include "launch/api/token_rows.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"

namespace natrix {
namespace {

struct ScoreFlags {
  CommonFlags common;
  std::string model, tokens, out;
};

int score(const ScoreFlags& flags, const LayerKinds& kinds) {
  const auto held = check_output("--out", flags.out);
  Context ctx = flags.common.context();
  AssembledModel model =
      load_model(resolve_model_dir(flags.model), flags.common.element(), false, ctx.memory(), kinds);
  pack_for_reading(*model, ctx, flags.common);
  const int64_t vocabulary = *model->config().vocab_size;
  const Buffer tokens = read_tokens(flags.tokens, vocabulary);
  const int64_t batch = tokens.view().rows(), length = tokens.view().cols();

  SafetensorsWriter out(flags.out,
                        {{"logits", Dtype::kF32, {batch, length, vocabulary}}, {"loss", Dtype::kF32, {1}}});
  const ScoreFigures figures = score_tokens(
      *model, ctx, tokens.view(), flags.common.chunk, fmt::format("; {} is not written", flags.out),
      [&](int64_t row, int64_t first, View logits) {
        out.write_at("logits", (row * length + first) * vocabulary, logits);
      });
  float loss = figures.mean();
  out.write_at("loss", 0, View(&loss, Dtype::kF32, {1}));
  out.commit();
  if (flags.common.json) {
    print_json({{"loss", loss}, {"predictions", figures.predictions}, {"out", flags.out}});
  } else {
    fmt::print("mean loss {:.6f} nats over {} predictions; logits {} in {}\n", loss, figures.predictions,
               Shape{batch, length, vocabulary}.to_string(), flags.out);
  }
  flags.common.announce(ctx);
  return 0;
}

}  // namespace

void add_score(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "score", "Logits and loss of given tokens");
  auto flags = std::make_shared<ScoreFlags>();
  add_model_argument(*c, flags->model);
  as_path(c->add_option("--tokens", flags->tokens, "safetensors file with \"tokens\" [B, T] int64"))
      ->required();
  as_path(c->add_option("-o,--out", flags->out,
                        "safetensors file to write: \"logits\" [B, T, V] f32 and \"loss\" [1]"))
      ->required();
  add_common_flags(*c, flags->common);
  add_weights_flag(*c, flags->common);
  c->footer(
      "Example: natrix score runs/quickstart --tokens tokens.safetensors --out scores.safetensors\n"
      "Where a logit is not finite nothing is written, and the status is 1.");
  c->callback([flags, &chosen, &program] {
    chosen = [flags, &program] {
      return report_nonfinite(flags->common.json, true, "loss", [&] { return score(*flags, program.kinds); });
    };
  });
}

}  // namespace natrix
