// natrix gradients: dloss/dparameter of the mean next-token cross-entropy
// of given tokens, under the checkpoint's names.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/safetensors.h"
#include "core/hf/hf_checkpoint.h"
#include "core/io/checkpoint_dir.h"
#include "launch/api/token_gradients.h"
#include "launch/api/token_rows.h"
#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/warning.h"

namespace natrix {
namespace {

struct GradientsFlags {
  CommonFlags common;
  std::string model, tokens, out;
};

int gradients(const GradientsFlags& flags, const LayerKinds& kinds) {
  const auto held = check_output("--out", flags.out);
  const std::string dir = resolve_model_dir(flags.model);
  Context ctx = flags.common.context();
  const ModelConfig config = cross_entropy_only(read_checkpoint_model(dir, print_warning, kinds));
  AssembledModel model = load_model(dir, config, flags.common.element(), true, ctx.memory(), nullptr, kinds);
  const Buffer tokens = read_tokens(flags.tokens, *config.vocab_size);
  const Buffer targets = next_token_targets(tokens.view());
  const int64_t batch = tokens.view().rows(), length = tokens.view().cols();
  if (length < 2)
    throw InputError(fmt::format("{}: a gradient needs at least two tokens a row", flags.tokens));

  const double loss = token_gradients(*model, ctx,
                                      {.tokens = tokens.view(),
                                       .targets = targets.view(),
                                       .divisor = static_cast<double>(batch * (length - 1)),
                                       .chunk = flags.common.chunk,
                                       .consequence = fmt::format("; {} is not written", flags.out)})
                          .loss;
  const F32Parts parts = f32_parts(*model, &Param::grad);
  write_safetensors(flags.out, parts.named);
  if (flags.common.json) {
    print_json({{"loss", loss}, {"tensors", parts.named.size()}, {"out", flags.out}});
  } else {
    fmt::print("mean loss {:.6f} nats; gradients of {} tensors in {}\n", loss, parts.named.size(), flags.out);
  }
  flags.common.announce(ctx);
  return 0;
}

}  // namespace

void add_gradients(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "gradients", "Gradients of the mean loss of given tokens");
  auto flags = std::make_shared<GradientsFlags>();
  add_model_argument(*c, flags->model);
  as_path(c->add_option("--tokens", flags->tokens, "safetensors file with \"tokens\" [B, T] int64"))
      ->required();
  as_path(c->add_option("-o,--out", flags->out, "safetensors file to write: a f32 tensor a parameter"))
      ->required();
  add_common_flags(*c, flags->common);
  c->footer(
      "Example: natrix gradients runs/quickstart --tokens tokens.safetensors --out gradients.safetensors "
      "--chunk 512\n"
      "Where the loss or a gradient is not finite nothing is written, and the status is 1.");
  c->callback([flags, &chosen, &program] {
    chosen = [flags, &program] {
      return report_nonfinite(flags->common.json, true, "loss",
                              [&] { return gradients(*flags, program.kinds); });
    };
  });
}

}  // namespace natrix
