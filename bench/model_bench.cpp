// Whole models: tokens a second of a training step, of reading (prefill) and of writing (decode), beside what
// this machine could do at most.
//
//   train, prefill   bound by multiply-adds: 6 and 2 operations a token for each active parameter; what is
//   computed
//                    again for chunks does not count
//   decode           bound by memory: every active parameter is read once a token, 4 bytes; the ceiling is
//   the copy rate
//
// Before anything is timed, the loss in two chunks must be that in one, and the logits of tokens read one by
// one those of tokens read together.
//
//   bench_model [--quick]      Mamba-130M (state-spaces/mamba-130m: 24 layers of 768) and
//   configs/quickstart.yaml
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <random>
#include <string_view>

#include "bench/ceilings.h"
#include "configs/load.h"
#include "core/generate/session.h"
#include "core/layers/init.h"
#include "core/train/memory_plan.h"
#include "core/train/optimizer.h"
#include "core/train/rank_group.h"
#include "core/train/train_step.h"
#include "launch/assemble.h"

namespace natrix::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Subject {
  std::string name;
  ModelConfig config;
  std::vector<int64_t> lengths;  // of training rows
  int64_t batch;                 // rows of a step
};

Subject mamba_130m(bool quick) {
  ModelConfig c{.pattern = "M", .repeat = 24, .d_model = 768, .vocab_size = 50280, .norm_eps = 1e-5};
  c.mamba.inner_norms = false;
  return {"Mamba-130M", c, quick ? std::vector<int64_t>{256} : std::vector<int64_t>{256, 2048}, 1};
}

Subject quickstart() {
  ModelConfig c = load_experiment(NATRIX_SOURCE_DIR "/configs/quickstart.yaml", {}).config.model;
  c.vocab_size = 257;
  return {"quickstart", c, {1024}, 8};
}

AssembledModel fresh(const ModelConfig& config, bool with_gradients) {
  AssembledModel model = assemble_model(config, Dtype::kF32, with_gradients);
  initialise(model->params(), 1, static_cast<int64_t>(config.stack().size()));
  return model;
}

Batch random_batch(int64_t rows, int64_t length, int64_t vocabulary) {
  Batch b{.tokens = Buffer(Dtype::kI64, {rows, length}), .targets = Buffer(Dtype::kI64, {rows, length})};
  std::mt19937_64 engine(7);
  std::uniform_int_distribution<int64_t> any(0, vocabulary - 1);
  for (const Buffer* ids : {&b.tokens, &b.targets}) {
    std::generate_n(ids->view().as<int64_t>(), rows * length, [&] { return any(engine); });
  }
  return b;
}

/// The best of `times` calls, in seconds.
template <class Run>
double best_of(int times, const Run& run) {
  double best = HUGE_VAL;
  for (int i = 0; i < times; ++i) {
    const auto start = Clock::now();
    run();
    best = std::fmin(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

ExperimentConfig step_of(const Subject& s, int64_t length, int64_t chunk) {
  ExperimentConfig e;
  e.model = s.config;
  e.sequence = {.length = length, .chunk = chunk};
  e.train.batch_size = s.batch;
  return e;
}

double loss_of(Model& model, Context& ctx, const Subject& s, const Batch& batch, int64_t chunk) {
  const ExperimentConfig e = step_of(s, batch.tokens.view().extent(1), chunk);
  TrainStep step(model, ctx, e, needs_tally(s.config));
  return step.compute(batch).loss;
}

/// Empty, or what is wrong with the model.
std::string verify(Model& model, Context& ctx, const Subject& s) {
  const Batch batch = random_batch(1, 64, *s.config.vocab_size);
  const double whole = loss_of(model, ctx, s, batch, 64), halves = loss_of(model, ctx, s, batch, 32);
  if (!(std::fabs(whole - halves) <= 1e-6 * whole)) {
    return fmt::format("the loss in two chunks, {}, is not that in one, {}", halves, whole);
  }
  Session together(model, ctx, 1, 64), one_by_one(model, ctx, 1, 1);
  together.feed(batch.tokens.view());
  one_by_one.feed(batch.tokens.view());
  const View a = together.logits(), b = one_by_one.logits();
  double difference = 0, scale = 0;
  for (int64_t i = 0; i < a.count(); ++i) {
    difference = std::fmax(difference, std::fabs(a.as<float>()[i] - b.as<float>()[i]));
    scale = std::fmax(scale, std::fabs(a.as<float>()[i]));
  }
  return difference <= 1e-5 * scale
             ? ""
             : "logits of tokens read one by one are not those of tokens read together";
}

void print(const Subject& s, Context& ctx, const std::string& what, double tokens_per_second, double needed,
           double ceiling, const char* unit) {
  fmt::print("{:<12} {:<22} {:>7} {:>12.1f} {:>10.1f} {:<8} {:>8.1f} {:>5.0f}\n", s.name, what, ctx.threads(),
             tokens_per_second, needed * tokens_per_second / 1e9, unit, ceiling / 1e9,
             100 * needed * tokens_per_second / ceiling);
  std::fflush(stdout);
}

void time_training(Model& model, Context& ctx, const Subject& s, int64_t length, const Ceilings& machine) {
  const ExperimentConfig e = step_of(s, length, length);
  const Batch batch = random_batch(s.batch, length, *s.config.vocab_size);
  TrainStep step(model, ctx, e, needs_tally(s.config));
  Optimizer optimizer(e.optimizer, model.params());
  OneProcess alone;
  int64_t steps = 0;
  const double seconds = best_of(2, [&] {
    step.compute(batch);
    optimizer.update(ctx, 1e-4, optimizer.gradient_norm(ctx, alone), ++steps);
  });
  const auto tokens = static_cast<double>(s.batch * length);
  print(s, ctx, fmt::format("train {} x {}", s.batch, length), tokens / seconds,
        6 * static_cast<double>(count_parameters(s.config).active), machine.flops, "GFLOP/s");
}

void time_inference(Model& model, Context& ctx, const Subject& s, const Ceilings& machine) {
  constexpr int64_t kPrompt = 512, kNew = 16;
  const Batch prompt = random_batch(1, kPrompt, *s.config.vocab_size);
  const auto active = static_cast<double>(count_parameters(s.config).active);
  const double reading = best_of(3, [&] {
    Session session(model, ctx, 1, kPrompt);
    session.feed(prompt.tokens.view());
    session.logits();
  });
  print(s, ctx, "prefill 512", kPrompt / reading, 2 * active, machine.flops, "GFLOP/s");
  Session session(model, ctx, 1, 1);
  const View some = prompt.tokens.view().columns(0, 1);
  const double writing = best_of(5, [&] {
    for (int64_t i = 0; i < kNew; ++i) {
      session.feed(some);
      session.logits();
    }
  });
  print(s, ctx, "decode", kNew / writing, 4 * active, machine.bytes, "GB/s");
}

bool bench(const Subject& s, Context& ctx, const Ceilings& machine) {
  const AssembledModel model = fresh(s.config, true);
  if (const std::string wrong = verify(*model, ctx, s); !wrong.empty()) {
    fmt::print("{:<12} WRONG: {}\n", s.name, wrong);
    return false;
  }
  time_inference(*model, ctx, s, machine);
  for (const int64_t length : s.lengths) time_training(*model, ctx, s, length, machine);
  return true;
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  using namespace natrix;
  using namespace natrix::bench;
  const bool quick = argc == 2 && std::string_view(argv[1]) == "--quick";
  if (argc > 1 && !quick) {
    fmt::print(stderr, "{}: expected nothing or --quick, got {}\n", argv[0], argv[1]);
    return 2;
  }
  fmt::print("bench model: {}\n", instruction_set());
  bool good = true;
  for (const int threads : {1, available_processors()}) {
    Context ctx(Backend::kCpu, threads);
    const Ceilings machine = measure_ceilings(ctx);
    fmt::print("ceilings, threads {}: {:.1f} GFLOP/s f32, {:.1f} GB/s copied (read + written)\n", threads,
               machine.flops / 1e9, machine.bytes / 1e9);
    fmt::print("{:<12} {:<22} {:>7} {:>12} {:>19} {:>8} {:>5}\n", "model", "what", "threads", "tokens/s",
               "figure", "ceiling", "%");
    for (const Subject& s : {quickstart(), mamba_130m(quick)}) good = bench::bench(s, ctx, machine) && good;
  }
  return good ? 0 : 1;
}
