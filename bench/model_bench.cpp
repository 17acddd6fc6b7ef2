// Whole models with random weights, Mamba-130M (state-spaces/mamba-130m) and the
// quickstart's, in tokens per second.
//
//   train     a step: forward, backward, clipping, AdamW. It counts three forward passes of multiply-adds;
//             the recomputation for exact gradients over chunks does not count
//   prefill   reads a prompt and takes the logits after it
//   decode    one token: every weight that it uses is read once. On a device its work is captured and
//             launched at once (core/generate/recorded_step.h); a second case launches kernel by kernel
//
// Only multiply-adds count, or for decoding the bytes of weights. Exponentials, norms and the optimizer
// take time too, so 100 % is out of reach. Before anything is timed, two checks must pass: the step
// gives the same loss and gradient norm with another chunk, and a prompt gives the same logits read
// together and token by token.
#include <cmath>
#include <fmt/format.h>
#include <memory>

#include "bench/harness.h"
#include "configs/schema/load.h"
#include "core/generate/session.h"
#include "core/layers/init.h"
#include "core/tokenizers/tokenizer.h"
#include "core/train/optimizer.h"
#include "core/train/train_step.h"
#include "kernels/base/transfer.h"
#include "launch/assemble.h"
#include "launch/training_memory.h"

namespace natrix::bench {
namespace {

/// Where a model runs, and the dtype of its activations.
struct Place {
  Backend backend;
  int threads;
  Dtype dtype;

  /// Relative tolerance. cuBLAS chooses its kernel by a product's size, so on a device another chunk sums in
  /// another order. In bf16 that flips roundings: about 12 in each sublayer (tests/integration/cuda_bf16_test.cpp
  /// counts them), each of at most 2^-9 and independent of the others, on either side.
  double tolerance(const ModelConfig& config) const {
    if (backend != Backend::kCuda) return 1e-5;
    if (dtype != Dtype::kBF16) return 1e-4;
    return std::sqrt(2 * 12.0 * static_cast<double>(config.stack().size())) / 512;
  }
  bool close(double a, double b, const ModelConfig& config) const {
    return std::fabs(a - b) <= tolerance(config) * std::fabs(b);  // false if one is NaN
  }
};

/// The work of one token, forward.
struct Work {
  double flops = 0;       // of the layers
  double head_flops = 0;  // of the logits
  double weights = 0;     // read, those of the head included
};

/// Counts two operations for each element of a matrix that the token uses, taps of the convolution included,
/// and six for each state of a scan: h = decay · h + (dt · x) · B, y += h · C.
Work work_of(const ModelConfig& config) {
  const AssembledModel model = describe_model(config);
  const Shape vocabulary{*config.vocab_size, config.d_model};
  Work work{.head_flops = 2.0 * static_cast<double>(vocabulary.count()),
            .weights = static_cast<double>(vocabulary.count())};
  model->visit([&](Param& p) {
    if (p.shape.rank() < 2 || p.shape == vocabulary) return;  // a token reads one row of the embedding
    const bool experts = p.shape.rank() == 3;
    const double share =
        experts ? static_cast<double>(config.moe.top_k) / static_cast<double>(config.moe.num_experts) : 1.0;
    const double met = share * static_cast<double>(p.shape.count());
    work.flops += (p.init == Init::kALog ? 6 : 2) * met;
    work.weights += met;
  });
  return work;
}

AssembledModel fresh(const ModelConfig& config, const Place& place, bool with_gradients) {
  AssembledModel model = assemble_model(config, place.dtype, with_gradients, memory_of(place.backend));
  initialise(model->params(), 1, static_cast<int64_t>(config.stack().size()));
  return model;
}

/// A model in training. It has its own context, so that its activations are freed with it.
class Trainee {
 public:
  Trainee(const ExperimentConfig& config, const Place& place)
      : config_(config),
        place_(place),
        ctx_(place.backend, place.threads),
        model_(fresh(config.model, place, true)),
        optimizer_(config.optimizer, model_->params(), alone_),
        batch_{.tokens = random_rows(1), .targets = random_rows(2)},
        step_(*model_, ctx_, with_micro_batch(config_, 1)) {}

  void train() {
    step_.compute(batch_);
    optimizer_.update(ctx_, config_.optimizer.lr, optimizer_.gradient_norm(ctx_), ++steps_);
    model_->after_step(step_.tally());
  }

  /// Returns what is wrong with the loss and the gradients, or an empty string.
  std::string check() {
    const int64_t length = config_.sequence.length, chunk = config_.sequence.chunk;
    const Figures as_timed = figures(chunk), otherwise = figures(chunk < length ? length : length / 4);
    const auto close = [&](double a, double b) { return place_.close(a, b, config_.model); };
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
    TrainStep step(*model_, ctx_, with_micro_batch(config, 1));
    const double loss = step.compute(batch_).loss;
    return {loss, optimizer_.gradient_norm(ctx_)};
  }

  Buffer random_rows(uint64_t seed) const {
    return tokens(Memory::kHost, {config_.train.batch_size, config_.sequence.length}, seed,
                  *config_.model.vocab_size);
  }

  ExperimentConfig config_;
  Place place_;
  Context ctx_;
  AssembledModel model_;
  LocalGradients alone_;
  Optimizer optimizer_;
  Batch batch_;
  TrainStep step_;
  int64_t steps_ = 0;
};

/// A model for inference.
class Reader {
 public:
  Reader(const ModelConfig& config, WeightFormat weights, int64_t prompt, const Place& place)
      : place_(place),
        ctx_(place.backend, place.threads),
        model_(fresh(config, place, false)),
        prompt_(tokens(Memory::kHost, {1, prompt}, 1, *config.vocab_size)),
        writing_(*model_, ctx_, 1, 1),
        unrecorded_(*model_, ctx_, 1, 1, /*records=*/false) {
    if (place.backend == Backend::kCpu) model_->pack(ctx_, weights);
  }

  void prefill() {
    Session session(*model_, ctx_, 1, prompt_.view().cols());
    session.feed(prompt_.view());
    session.logits();
  }

  void decode() { take_token(writing_); }
  void decode_unrecorded() { take_token(unrecorded_); }

  /// Returns what is wrong with the logits, or an empty string.
  std::string check() {
    const int64_t length = std::min<int64_t>(prompt_.view().cols(), 64);
    const View prompt = prompt_.view().columns(0, length);
    Session together(*model_, ctx_, 1, length), singly(*model_, ctx_, 1, 1);
    together.feed(prompt);
    singly.feed(prompt);
    const OnHost of_together(ctx_, together.logits()), of_singly(ctx_, singly.logits());
    const float *a = of_together.view().as<float>(), *b = of_singly.view().as<float>();
    double difference = 0, scale = 0;
    for (int64_t i = 0; i < *model_->config().vocab_size; ++i) {
      if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return "a logit is not finite";
      difference = std::fmax(difference, std::fabs(a[i] - b[i]));
      scale = std::fmax(scale, std::fabs(a[i]));
    }
    if (difference <= place_.tolerance(model_->config()) * scale) return "";
    return fmt::format("{} tokens read together and singly: logits differ by {:.2e} of the largest", length,
                       difference / scale);
  }

 private:
  void take_token(Session& session) const {
    session.feed(prompt_.view().columns(0, 1));
    session.logits();
  }

  Place place_;
  Context ctx_;
  AssembledModel model_;
  Buffer prompt_;
  Session writing_, unrecorded_;
};

/// The cost of multiply-adds in that dtype.
Cost products(double flops, Dtype dtype) {
  return dtype == Dtype::kBF16 ? Cost{.bf16_flops = flops} : Cost{.flops = flops};
}

void add_training(Suite& suite, const std::string& name, const ExperimentConfig& config, bool slow,
                  Dtype dtype = Dtype::kF32) {
  const Work work = work_of(config.model);
  const int64_t rows = config.train.batch_size, length = config.sequence.length;
  const auto count = static_cast<double>(rows * length);
  suite.add(
      {.family = "train",
       .shape = fmt::format("{}  B {}  T {}  chunk {}", name, rows, length, config.sequence.chunk),
       .cost = products(3 * count * (work.flops + work.head_flops), dtype),
       .set_up =
           [config, dtype](Context& ctx) {
             const auto t = std::make_shared<Trainee>(config, Place{ctx.backend(), ctx.threads(), dtype});
             return Trial{.run = [t] { t->train(); }, .check = [t] { return t->check(); }};
           },
       .items = count,
       .unit = "token",
       .repetitions = 3,
       .slow = slow,
       .device_only = dtype == Dtype::kBF16});
}

std::function<Trial(Context&)> trial_of(const ModelConfig& config, WeightFormat weights, int64_t prompt,
                                        void (Reader::*run)(), Dtype dtype) {
  return [=](Context& ctx) {
    const auto r =
        std::make_shared<Reader>(config, weights, prompt, Place{ctx.backend(), ctx.threads(), dtype});
    return Trial{.run = [r, run] { ((*r).*run)(); }, .check = [r] { return r->check(); }};
  };
}

/// prompt: number of tokens that are read together.
void add_prefill(Suite& suite, const std::string& name, const ModelConfig& config, int64_t prompt, bool slow,
                 Dtype dtype = Dtype::kF32) {
  const Work work = work_of(config);
  const auto count = static_cast<double>(prompt);
  suite.add({.family = "prefill",
             .shape = fmt::format("{}  T {}", name, prompt),
             .cost = products(count * work.flops + work.head_flops, dtype),
             .set_up = trial_of(config, WeightFormat::kF32, prompt, &Reader::prefill, dtype),
             .items = count,
             .unit = "token",
             .repetitions = 5,
             .slow = slow,
             .device_only = dtype == Dtype::kBF16});
}

/// The time does not depend on the tokens read before. dtype bf16: on a device, where weights are not packed.
void add_decoding(Suite& suite, const std::string& name, const ModelConfig& config, WeightFormat weights,
                  bool slow, Dtype dtype = Dtype::kF32, void (Reader::*run)() = &Reader::decode) {
  constexpr const char* kNames[] = {"f32", "bf16", "int8"};
  const char* how = run == &Reader::decode ? "" : "  kernel by kernel";
  suite.add({.family = "decode",
             .shape = fmt::format("{}  {}{}", name, kNames[static_cast<int>(weights)], how),
             .cost = {.reads = static_cast<double>(element_bytes(weights)) * work_of(config).weights},
             .set_up = trial_of(config, weights, 1, run, dtype),
             .items = 1,
             .unit = "token",
             .slow = slow,
             .device_only = dtype == Dtype::kBF16});
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

/// Four Mamba layers, each followed by eight experts of which a token uses two.
ExperimentConfig jamba_moe() {
  ExperimentConfig c;
  c.model = {.pattern = "ME", .repeat = 4, .d_model = 256, .vocab_size = 257};
  c.model.moe.d_ff = 512;
  c.sequence.length = c.sequence.chunk = 512;
  c.train.batch_size = 4;
  return c;
}

/// Eight Mamba layers, each followed by eight experts of which a token uses two.
ModelConfig jamba_300m() {
  ModelConfig m{.pattern = "ME", .repeat = 8, .d_model = 768, .vocab_size = 32000, .tie_embeddings = false};
  m.moe.d_ff = 1536;
  return m;
}

/// MoE-Mamba (arXiv 2401.04081): a token uses one of 32 experts, some 25 million parameters over all layers.
ModelConfig moe_mamba_25m() {
  ModelConfig m{.pattern = "ME", .repeat = 8, .d_model = 512, .vocab_size = 32000};
  m.moe.num_experts = 32;
  m.moe.top_k = 1;
  m.moe.d_ff = 1024;
  return m;
}

/// A billion parameters, of which a token uses a fifth.
ModelConfig mamba_moe_1b() {
  ModelConfig m{.pattern = "ME", .repeat = 12, .d_model = 1024, .vocab_size = 32000};
  m.moe.num_experts = 16;
  m.moe.d_ff = 1408;
  return m;
}

/// Small enough for an emulated device: a smoke test.
ModelConfig smallest() {
  ModelConfig m{.pattern = "ME", .repeat = 1, .d_model = 32, .vocab_size = 64};
  m.moe.num_experts = 4;
  m.moe.d_ff = 32;
  return m;
}

/// In bf16, on a device: training, prefill, decoding.
void add_on_device(Suite& suite, const std::string& name, const ModelConfig& model, int64_t rows,
                   int64_t length, bool slow) {
  ExperimentConfig c;
  c.model = model;
  c.sequence.length = c.sequence.chunk = length;
  c.train.batch_size = rows;
  const std::string label = name + " bf16";
  add_training(suite, label, c, slow, Dtype::kBF16);
  add_prefill(suite, label, model, length, slow, Dtype::kBF16);
  add_decoding(suite, name, model, WeightFormat::kBF16, slow, Dtype::kBF16);
  add_decoding(suite, name, model, WeightFormat::kBF16, slow, Dtype::kBF16, &Reader::decode_unrecorded);
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
  add_on_device(suite, "smallest", smallest(), 1, 16, false);
  add_on_device(suite, "Mamba-130M", mamba, 8, 2048, true);
  add_on_device(suite, "MoE-Mamba-25M", moe_mamba_25m(), 8, 2048, true);
  add_on_device(suite, "Mamba-MoE-1B", mamba_moe_1b(), 8, 2048, true);
  return suite.run(argc, argv);
}
