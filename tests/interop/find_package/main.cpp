// A model from a configuration, in another project: its next-token probabilities after a text, and a training
// step.
#include <cmath>
#include <cstdio>
#include <string>

#include "core/generate/session.h"
#include "core/layers/init.h"
#include "core/sequence/segment_schedule.h"
#include "launch/assemble.h"

namespace {

natrix::ModelConfig small_model() {
  natrix::ModelConfig config;
  config.pattern = "ME";
  config.repeat = 2;
  config.d_model = 32;
  config.vocab_size = 257;
  config.moe.d_ff = 32;
  return config;
}

natrix::Buffer tokens_of(const std::string& text) {
  natrix::Buffer tokens(natrix::Dtype::kI64, {1, static_cast<int64_t>(text.size())});
  for (size_t i = 0; i < text.size(); ++i)
    tokens.view().as<int64_t>()[i] = static_cast<unsigned char>(text[i]);
  return tokens;
}

double sum_of_probabilities(const float* logits, int64_t count) {
  double top = logits[0], sum = 0, all = 0;
  for (int64_t i = 0; i < count; ++i) top = std::fmax(top, logits[i]);
  for (int64_t i = 0; i < count; ++i) all += std::exp(logits[i] - top);
  for (int64_t i = 0; i < count; ++i) sum += std::exp(logits[i] - top) / all;
  return sum;
}

}  // namespace

int main() {
  natrix::AssembledModel model = natrix::assemble_model(small_model(), natrix::Dtype::kF32, true);
  natrix::initialise(model->params(), 1, 4);
  natrix::Context ctx(natrix::Backend::kCpu, 1);
  const std::string verse = "In the beginning God created the heaven and the earth.";
  const natrix::Buffer text = tokens_of(verse), next = tokens_of(verse.substr(1) + "\n");

  natrix::Session session(*model, ctx, 1, 16);
  session.feed(text.view());
  const natrix::View logits = session.logits();
  if (std::fabs(sum_of_probabilities(logits.as<float>(), logits.count()) - 1) > 1e-6) return 1;

  natrix::LocalRoute states, gradients;
  natrix::SegmentSchedule schedule(*model, ctx, states, gradients, {.chunk = 16});
  natrix::StepTally tally;
  tally.begin_step(text.view().count());
  const natrix::Sequences rows{.tokens = text.view(), .targets = next.view()};
  const double scale = 1.0 / static_cast<double>(text.view().count());
  const double loss = schedule.step({&rows, 1}, scale, tally).loss_sum * scale;
  std::printf("%zu tensors, loss %.4f after no training (ln 257 = %.4f)\n", model->params().size(), loss,
              std::log(257.0));
  return std::fabs(loss - std::log(257.0)) < 0.2 ? 0 : 1;
}
