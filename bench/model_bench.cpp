// Whole models with random weights, Mamba-130M (state-spaces/mamba-130m) and the quickstart's: tokens a
// second.
//
//   train     a step: forward, backward, clipping, AdamW. Three forward passes of multiply-adds; what exact
//             gradients compute again for chunks does not count
//   prefill   a prompt is read, and the logits after it are taken
//   decode    one token: every weight that it meets is read once
//
// Only multiply-adds count, or for decoding the bytes of weights: exponentials, norms and the optimizer come
// on top, so 100 % is out of reach. Before anything is timed, the step must give the same loss and gradient
// norm cut into other chunks, and a prompt the same logits read together and token by token.
#include <cmath>
#include <fmt/format.h>
#include <memory>

#include "bench/harness.h"
#include "configs/load.h"
#include "core/generate/session.h"
#include "core/layers/init.h"
#include "core/text/tokenizer.h"
#include "core/train/optimizer.h"
#include "core/train/train_step.h"
#include "launch/assemble.h"

namespace natrix::bench {
namespace {

constexpr double kTolerance = 1e-5;  // relative

bool close(double a, double b) {
  return std::fabs(a - b) <= kTolerance * std::fabs(b);  // false if one is not a number
}

/// Of one token, forward.
struct Work {
  double flops = 0;       // of the layers
  double head_flops = 0;  // of the logits
  double weights = 0;     // read, those of the head included
};

/// Two operations for each element of a matrix that the token meets, taps of the convolution included; six
/// for each state of a scan: h = decay · h + (dt · x) · B, y += h · C.
Work work_of(const ModelConfig& config) {
  const AssembledModel model = describe_model(config);
  const Shape vocabulary{*config.vocab_size, config.d_model};
  Work work{.head_flops = 2.0 * static_cast<double>(vocabulary.count()),
            .weights = static_cast<double>(vocabulary.count())};
  model->visit([&](Param& p) {
    if (p.shape.rank() < 2 || p.shape == vocabulary) return;  // of the embedding, one row is read
    const bool experts = p.shape.rank() == 3;
    const double share =
        experts ? static_cast<double>(config.moe.top_k) / static_cast<double>(config.moe.num_experts) : 1.0;
    const double met = share * static_cast<double>(p.shape.count());
    work.flops += (p.init == Init::kALog ? 6 : 2) * met;
    work.weights += met;
  });
  return work;
}

AssembledModel fresh(const ModelConfig& config, bool with_gradients) {
  AssembledModel model = assemble_model(config, Dtype::kF32, with_gradients);
  initialise(model->params(), 1, static_cast<int64_t>(config.stack().size()));
  return model;
}

/// A model in training. Its context is its own, so that a model's activations go when the model goes.
class Trainee {
 public:
  Trainee(const ExperimentConfig& config, int threads)
      : config_(config),
        ctx_(Backend::kCpu, threads),
        model_(fresh(config.model, true)),
        optimizer_(config.optimizer, model_->params(), alone_),
        batch_{.tokens = random_rows(1), .targets = random_rows(2)},
        step_(*model_, ctx_, config_, needs_tally(config.model)) {}

  void train() {
    step_.compute(batch_);
    optimizer_.update(ctx_, config_.optimizer.lr, optimizer_.gradient_norm(ctx_), ++steps_);
    update_router_biases(*model_, step_.tally());
  }

  /// What is wrong with the loss and the gradients, or nothing.
  std::string check() {
    const int64_t length = config_.sequence.length, chunk = config_.sequence.chunk;
    const Figures as_timed = figures(chunk), otherwise = figures(chunk < length ? length : length / 4);
    if (close(as_timed.loss, otherwise.loss) && close(as_timed.norm, otherwise.norm)) return "";
    return fmt::format("loss {} and gradient norm {}; cut into other chunks {} and {}", as_timed.loss,
                       as_timed.norm, otherwise.loss, otherwise.norm);
  }

 private:
  struct Figures {
    double loss, norm;
  };

  Figures figures(int64_t chunk) {
    ExperimentConfig config = config_;
    config.sequence.chunk = chunk;
    TrainStep step(*model_, ctx_, config, needs_tally(config.model));
    const double loss = step.compute(batch_).loss;
    return {loss, optimizer_.gradient_norm(ctx_)};
  }

  Buffer random_rows(uint64_t seed) const {
    return tokens({config_.train.batch_size, config_.sequence.length}, seed, *config_.model.vocab_size);
  }

  ExperimentConfig config_;
  Context ctx_;
  AssembledModel model_;
  OneProcess alone_;
  Optimizer optimizer_;
  Batch batch_;
  TrainStep step_;
  int64_t steps_ = 0;
};

/// A model that reads and writes.
class Reader {
 public:
  Reader(const ModelConfig& config, WeightFormat weights, int64_t prompt, int threads)
      : ctx_(Backend::kCpu, threads),
        model_(fresh(config, false)),
        prompt_(tokens({1, prompt}, 1, *config.vocab_size)),
        writing_(*model_, ctx_, 1, 1) {
    model_->pack(ctx_, weights);
  }

  void prefill() {
    Session session(*model_, ctx_, 1, prompt_.view().cols());
    session.feed(prompt_.view());
    session.logits();
  }

  void decode() {
    writing_.feed(prompt_.view().columns(0, 1));
    writing_.logits();
  }

  /// What is wrong with the logits, or nothing.
  std::string check() {
    const int64_t length = std::min<int64_t>(prompt_.view().cols(), 64);
    const View prompt = prompt_.view().columns(0, length);
    Session together(*model_, ctx_, 1, length), singly(*model_, ctx_, 1, 1);
    together.feed(prompt);
    singly.feed(prompt);
    const float *a = together.logits().as<float>(), *b = singly.logits().as<float>();
    double difference = 0, scale = 0;
    for (int64_t i = 0; i < *model_->config().vocab_size; ++i) {
      if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return "a logit is not finite";
      difference = std::fmax(difference, std::fabs(a[i] - b[i]));
      scale = std::fmax(scale, std::fabs(a[i]));
    }
    if (difference <= kTolerance * scale) return "";
    return fmt::format("{} tokens read together and singly: logits differ by {:.2e} of the largest", length,
                       difference / scale);
  }

 private:
  Context ctx_;
  AssembledModel model_;
  Buffer prompt_;
  Session writing_;
};

void add_training(Suite& suite, const std::string& name, const ExperimentConfig& config, bool slow) {
  const Work work = work_of(config.model);
  const int64_t rows = config.train.batch_size, length = config.sequence.length;
  const auto count = static_cast<double>(rows * length);
  suite.add({.family = "train",
             .shape = fmt::format("{}  B {}  T {}  chunk {}", name, rows, length, config.sequence.chunk),
             .cost = {.flops = 3 * count * (work.flops + work.head_flops)},
             .set_up =
                 [config](Context& ctx) {
                   const auto t = std::make_shared<Trainee>(config, ctx.threads());
                   return Trial{.run = [t] { t->train(); }, .check = [t] { return t->check(); }};
                 },
             .items = count,
             .unit = "token",
             .repetitions = 3,
             .slow = slow});
}

std::function<Trial(Context&)> trial_of(const ModelConfig& config, WeightFormat weights, int64_t prompt,
                                        void (Reader::*run)()) {
  return [=](Context& ctx) {
    const auto r = std::make_shared<Reader>(config, weights, prompt, ctx.threads());
    return Trial{.run = [r, run] { ((*r).*run)(); }, .check = [r] { return r->check(); }};
  };
}

/// prompt: tokens that are read together.
void add_prefill(Suite& suite, const std::string& name, const ModelConfig& config, int64_t prompt,
                 bool slow) {
  const Work work = work_of(config);
  const auto count = static_cast<double>(prompt);
  suite.add({.family = "prefill",
             .shape = fmt::format("{}  T {}", name, prompt),
             .cost = {.flops = count * work.flops + work.head_flops},
             .set_up = trial_of(config, WeightFormat::kF32, prompt, &Reader::prefill),
             .items = count,
             .unit = "token",
             .repetitions = 5,
             .slow = slow});
}

/// What was read before does not matter.
void add_decoding(Suite& suite, const std::string& name, const ModelConfig& config, WeightFormat weights,
                  bool slow) {
  constexpr const char* kNames[] = {"f32", "bf16", "int8"};
  suite.add({.family = "decode",
             .shape = fmt::format("{}  {}", name, kNames[static_cast<int>(weights)]),
             .cost = {.reads = static_cast<double>(element_bytes(weights)) * work_of(config).weights},
             .set_up = trial_of(config, weights, 1, &Reader::decode),
             .items = 1,
             .unit = "token",
             .slow = slow});
}

ExperimentConfig mamba_130m(int64_t length, int64_t chunk) {
  ExperimentConfig c;
  c.model = {.pattern = "M", .repeat = 24, .d_model = 768, .vocab_size = 50280, .norm_eps = 1e-5};
  c.model.mamba.inner_norms = false;
  c.sequence.length = length;
  c.sequence.chunk = chunk;
  c.train.batch_size = 1;
  return c;
}

/// Four Mamba layers, each followed by eight experts of which a token meets two.
ExperimentConfig jamba_moe() {
  ExperimentConfig c;
  c.model = {.pattern = "ME", .repeat = 4, .d_model = 256, .vocab_size = 257};
  c.model.moe.d_ff = 512;
  c.sequence.length = c.sequence.chunk = 512;
  c.train.batch_size = 4;
  return c;
}

/// Eight Mamba layers, each followed by eight experts of which a token meets two.
ModelConfig jamba_300m() {
  ModelConfig m{.pattern = "ME", .repeat = 8, .d_model = 768, .vocab_size = 32000, .tie_embeddings = false};
  m.moe.d_ff = 1536;
  return m;
}

ExperimentConfig quickstart() {
  ExperimentConfig c = load_experiment(NATRIX_SOURCE_DIR "/configs/quickstart.yaml").config;
  c.model.vocab_size = make_tokenizer("bytes")->vocab_size();
  return c;
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  using namespace natrix::bench;
  Suite suite("model");
  const natrix::ExperimentConfig small = quickstart();
  add_training(suite, "quickstart", small, false);
  add_training(suite, "Jamba-MoE", jamba_moe(), true);
  add_training(suite, "Mamba-130M", mamba_130m(64, 64), false);
  add_training(suite, "Mamba-130M", mamba_130m(256, 256), true);
  add_training(suite, "Mamba-130M", mamba_130m(2048, 2048), true);
  add_training(suite, "Mamba-130M", mamba_130m(2048, 512), true);
  add_prefill(suite, "quickstart", small.model, 64, false);
  add_prefill(suite, "quickstart", small.model, 512, true);
  add_decoding(suite, "quickstart", small.model, natrix::WeightFormat::kF32, false);
  const natrix::ModelConfig mamba = mamba_130m(1, 1).model;
  add_prefill(suite, "Mamba-130M", mamba, 64, false);
  add_prefill(suite, "Mamba-130M", mamba, 512, true);
  for (const auto weights :
       {natrix::WeightFormat::kF32, natrix::WeightFormat::kBF16, natrix::WeightFormat::kInt8}) {
    add_decoding(suite, "Mamba-130M", mamba, weights, false);
    add_decoding(suite, "Jamba-300M", jamba_300m(), weights, true);
  }
  add_prefill(suite, "Jamba-300M", jamba_300m(), 512, true);
  return suite.run(argc, argv);
}
