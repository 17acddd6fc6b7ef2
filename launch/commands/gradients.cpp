// natrix gradients: dloss/dparameter of the mean next-token cross-entropy
// of given tokens, under the checkpoint's names.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/safetensors.h"
#include "core/hf/hf_checkpoint.h"
#include "core/io/checkpoint_dir.h"
#include "core/sequence/diagnose.h"
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
  ModelConfig config = read_checkpoint_model(dir, print_warning, kinds);
  config.moe.aux_loss_coef = 0;  // the gradient of the cross-entropy alone
  config.moe.z_loss_coef = 0;
  AssembledModel model = load_model(dir, config, flags.common.element(), true, ctx.memory(), nullptr, kinds);
  const Buffer tokens = read_tokens(flags.tokens, *config.vocab_size);
  const Buffer targets = next_token_targets(tokens.view());
  const int64_t batch = tokens.view().rows(), length = tokens.view().cols();
  if (length < 2)
    throw InputError(fmt::format("{}: a gradient needs at least two tokens a row", flags.tokens));

  LocalRoute states, backwards;
  const int64_t chunk = std::min(flags.common.chunk, length);
  SegmentSchedule schedule(*model, ctx, states, backwards, {.chunk = chunk});
  StepTally tally;
  tally.begin_step(batch * length);
  const Sequences rows{.tokens = tokens.view(), .targets = targets.view()};
  const auto predictions = static_cast<double>(batch * (length - 1));
  const StepResult result = schedule.step({&rows, 1}, 1 / predictions, tally);

  const FileTensors tensors(model->params(), &Param::grad);
  std::vector<NamedTensor> named = tensors.list();
  std::vector<Buffer> converted;  // the file holds f32, whatever the model computed in
  for (NamedTensor& t : named) {
    converted.emplace_back(Dtype::kF32, t.view.shape);
    convert(t.view, converted.back().view());
    t.view = converted.back().view();
  }
  const double loss = result.loss_sum / predictions;
  const auto sick = std::ranges::find_if(named, [](const NamedTensor& t) { return !all_finite(t.view); });
  if (!std::isfinite(loss) || sick != named.end()) {
    OneProcess alone;
    throw NonfiniteError(fmt::format(
        "loss {}{}: {}; {} is not written", digits(loss),
        sick == named.end() ? "" : fmt::format(", the gradient of {} is not finite", sick->name),
        locate_nonfinite(*model, ctx, {&rows, 1}, {.length = length, .chunk = chunk}, alone.ranks()),
        flags.out));
  }
  write_safetensors(flags.out, named);
  if (flags.common.json) {
    print_json({{"loss", loss}, {"tensors", named.size()}, {"out", flags.out}});
  } else {
    fmt::print("mean loss {:.6f} nats; gradients of {} tensors in {}\n", loss, named.size(), flags.out);
  }
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
