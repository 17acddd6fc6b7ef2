// natrix score: logits and loss of given tokens, streamed to a file chunk by chunk.
#include <CLI/CLI.hpp>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/safetensors.h"
#include "core/generate/sampler.h"
#include "core/io/checkpoint_dir.h"
#include "core/sequence/diagnose.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"

namespace natrix {
namespace {

struct ScoreFlags {
  CommonFlags common;
  std::string model, tokens, out;
};

/// Columns [first, first + count) of a [B, T] tensor of targets, contiguous.
Buffer columns_of(View v, int64_t first, int64_t count) {
  Buffer part(v.dtype, {v.rows(), count});
  copy(v.columns(first, count), part.view());
  return part;
}

/// The first row of logits that says nothing; −1: there is none.
int64_t first_without_choice(View logits) {
  for (int64_t r = 0; r < logits.rows(); ++r) {
    if (!has_choice({logits.row<float>(r), static_cast<size_t>(logits.cols())})) return r;
  }
  return -1;
}

int score(const ScoreFlags& flags, const LayerKinds& kinds) {
  const auto held = check_output("--out", flags.out);
  Context ctx = flags.common.context();
  AssembledModel model =
      load_model(resolve_model_dir(flags.model), flags.common.element(), false, ctx.memory(), kinds);
  pack_for_reading(*model, ctx, flags.common);
  const int64_t vocabulary = *model->config().vocab_size;
  const Buffer tokens = read_tokens(flags.tokens, vocabulary);
  const Buffer targets = next_token_targets(tokens.view());
  const int64_t batch = tokens.view().rows(), length = tokens.view().cols();

  SafetensorsWriter out(flags.out,
                        {{"logits", Dtype::kF32, {batch, length, vocabulary}}, {"loss", Dtype::kF32, {1}}});
  LocalRoute states;
  CutRoute none;
  const int64_t chunk = std::min(flags.common.chunk, length);
  SegmentSchedule schedule(*model, ctx, states, none, {.chunk = chunk});
  double sum = 0;
  const auto refuse = [&](int64_t end, const std::string& what) {
    const Sequences read{.tokens = tokens.view().columns(0, end), .targets = targets.view().columns(0, end)};
    OneProcess alone;
    throw NonfiniteError(
        fmt::format("{}: {}; {} is not written", what,
                    locate_nonfinite(*model, ctx, {&read, 1}, {.length = end, .chunk = chunk}, alone.ranks()),
                    flags.out));
  };
  schedule.read({.tokens = tokens.view()}, [&](int64_t first, View hidden) {
    const int64_t end = first + hidden.extent(1);
    const Buffer part = columns_of(targets.view(), first, hidden.extent(1));
    sum += model->head().loss(ctx, hidden, part.view());
    for (int64_t b = 0; b < batch; ++b) {
      Arena::Frame frame(ctx.arena());
      View logits = model->head().logits(ctx, hidden.row_range(b * hidden.extent(1), hidden.extent(1)));
      const Buffer f32(Dtype::kF32, logits.shape);
      convert(logits, f32.view());
      const int64_t sick = first_without_choice(f32.view());
      if (sick >= 0)
        refuse(end, fmt::format("the logits of row {}, position {} are not finite", b, first + sick));
      out.write_at("logits", (b * length + first) * vocabulary, f32.view());
    }
    if (!std::isfinite(sum)) refuse(end, fmt::format("the loss is {}", digits(sum)));
  });
  const int64_t predictions = batch * (length - 1);
  auto loss = static_cast<float>(predictions > 0 ? sum / static_cast<double>(predictions) : 0.0);
  out.write_at("loss", 0, View(&loss, Dtype::kF32, {1}));
  out.commit();
  if (flags.common.json) {
    print_json({{"loss", loss}, {"predictions", predictions}, {"out", flags.out}});
  } else {
    fmt::print("mean loss {:.6f} nats over {} predictions; logits {} in {}\n", loss, predictions,
               Shape{batch, length, vocabulary}.to_string(), flags.out);
  }
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
