#include "bench/harness.h"

#include <algorithm>
#include <benchmark/benchmark.h>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "bench/ceilings.h"
#include "kernels/base/transfer.h"

namespace natrix::bench {
namespace {

/// The roof of one case on one machine: the resource that takes longest.
struct Roof {
  const char* unit;  // of figures bound by this resource
  double amount;     // amount that one call needs
  double seconds;    // least time of this machine for it
  double rate() const { return amount / seconds; }
};

Roof roof_of(const Cost& cost, const Ceilings& machine) {
  Roof roof{"GB/s", cost.bytes + cost.reads, cost.bytes / machine.bytes + cost.reads / machine.reads};
  const double of_bf16 = cost.bf16_flops > 0 ? cost.bf16_flops / machine.bf16_flops : 0;  // a CPU has none
  for (const Roof& other :
       {Roof{"GFLOP/s", cost.flops, cost.flops / machine.flops}, Roof{"GFLOP/s", cost.bf16_flops, of_bf16},
        Roof{"Gexp/s", cost.exps, cost.exps / machine.exps}}) {
    if (other.seconds > roof.seconds) roof = other;
  }
  return roof;
}

/// One case at one number of threads.
struct Row {
  const Case* what;
  Context* ctx;
  Roof roof;
  std::string id{};              // name for --benchmark_filter
  std::optional<Trial> trial{};  // exists from the first timing of the row to its report
  std::string failure{};
  double seconds = std::numeric_limits<double>::infinity();  // mean of the best repetition

  double figure() const { return roof.amount / seconds / 1e9; }
  double percent() const { return 100 * roof.seconds / seconds; }
};

double largest_difference(View got, View want) {
  double difference = 0, scale = std::numeric_limits<double>::min();
  for_float(want.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t r = 0; r < want.rows(); ++r) {
      for (int64_t c = 0; c < want.cols(); ++c) {
        const auto a = static_cast<double>(got.row<T>(r)[c]), b = static_cast<double>(want.row<T>(r)[c]);
        const double gap = std::fabs(a - b);
        difference = std::fmax(difference, std::isnan(gap) ? std::numeric_limits<double>::infinity() : gap);
        scale = std::fmax(scale, std::fabs(b));
      }
    }
  });
  return difference / scale;
}

/// Sets up the row's trial. Records a failure if its first run differs from the reference.
void verify(Row& row) {
  row.trial = row.what->set_up(*row.ctx);
  if (row.trial->check) {
    row.failure = row.trial->check();
    return;
  }
  Context oracle(Backend::kReference, row.ctx->threads());
  const Trial want = row.what->set_up(oracle);
  want.run();
  row.trial->run();
  for (size_t i = 0; i < want.outputs.size(); ++i) {
    const OnHost got(*row.ctx, row.trial->outputs[i]);
    const Buffer alike(want.outputs[i].dtype, got.view().shape);
    convert(got.view(), alike.view());
    const double difference = largest_difference(alike.view(), want.outputs[i]);
    if (difference <= row.what->tolerance) continue;
    row.failure = fmt::format(
        "output {} differs from the reference by {:.2e} of its largest element; at most {:.2e} expected", i,
        difference, row.what->tolerance);
  }
}

void time(benchmark::State& state, Row& row) {
  if (!row.trial && row.failure.empty()) verify(row);
  if (!row.failure.empty()) return state.SkipWithError(row.failure.c_str());
  if (row.ctx->backend() != Backend::kCuda) {
    for (auto _ : state) row.trial->run();
    return;
  }
  // A call returns before the device has done its work, so several calls are timed up to one common wait.
  constexpr int kTogether = 10;
  const Buffer last(Dtype::kU8, {1}, Memory::kDevice), here(Dtype::kU8, {1});
  while (state.KeepRunningBatch(kTogether)) {
    for (int i = 0; i < kTogether; ++i) row.trial->run();
    download(*row.ctx, last.view(), here.view());
  }
}

constexpr const char* kLine = "{:<28} {:<38} {:>7} {:>11} {:>16} {:>16} {:>16} {:>6}\n";

std::string text_of(double seconds) {
  return seconds < 1e-3 ? fmt::format("{:.2f} us", seconds * 1e6) : fmt::format("{:.2f} ms", seconds * 1e3);
}

/// The time of one item, or items per second.
std::string of_each(const Row& row) {
  const Case& c = *row.what;
  if (c.items == 0) return "";
  return c.unit.empty() ? fmt::format("{:.3f} ns", row.seconds * 1e9 / c.items)
                        : fmt::format("{:.1f} {}/s", c.items / row.seconds, c.unit);
}

/// Prints each row as soon as it is known, and frees its operands.
class Table : public benchmark::BenchmarkReporter {
 public:
  Table(std::vector<Row>& rows, bool print) : rows_(rows), print_(print) {}

  bool ReportContext(const benchmark::BenchmarkReporter::Context&) override {
    if (print_) fmt::print(kLine, "kernel", "shape", "threads", "time", "of each", "figure", "ceiling", "%");
    return true;
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    if (runs.front().run_type != Run::RT_Iteration)
      return;  // means and deviations of the repetitions just reported
    const std::string& id = runs.front().run_name.function_name;
    Row& row = *std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.id == id; });
    for (const Run& run : runs) {
      if (run.iterations > 0)
        row.seconds = std::min(row.seconds, run.real_accumulated_time / static_cast<double>(run.iterations));
    }
    row.trial.reset();
    if (print_) print(row);
  }

 private:
  static void print(const Row& row) {
    if (!row.failure.empty()) {
      fmt::print("{:<28} {:<38} WRONG: {}\n", row.what->family, row.what->shape, row.failure);
    } else {
      fmt::print(kLine, row.what->family, row.what->shape, row.ctx->threads(), text_of(row.seconds),
                 of_each(row), fmt::format("{:.2f} {}", row.figure(), row.roof.unit),
                 fmt::format("{:.2f} {}", row.roof.rate() / 1e9, row.roof.unit),
                 fmt::format("{:.0f}", row.percent()));
    }
    std::fflush(stdout);
  }

  std::vector<Row>& rows_;
  bool print_;
};

nlohmann::ordered_json to_json(const Row& row) {
  nlohmann::ordered_json j{{"kernel", row.what->family},
                           {"shape", row.what->shape},
                           {"backend", name_of(row.ctx->backend())},
                           {"threads", row.ctx->threads()}};
  if (!row.failure.empty()) {
    j["failure"] = row.failure;
  } else {
    j.update({{"seconds", row.seconds},
              {"figure", row.figure()},
              {"ceiling", row.roof.rate() / 1e9},
              {"unit", row.roof.unit},
              {"percent", row.percent()}});
    if (row.what->items > 0) j["seconds_each"] = row.seconds / row.what->items;
    if (!row.what->unit.empty()) j["item"] = row.what->unit;
  }
  return j;
}

nlohmann::ordered_json to_json(int threads, const Ceilings& c) {
  return {{"threads", threads},    {"gflops", c.flops / 1e9}, {"gflops_bf16", c.bf16_flops / 1e9},
          {"gexps", c.exps / 1e9}, {"gbytes", c.bytes / 1e9}, {"gbytes_read", c.reads / 1e9}};
}

/// The contexts to time: one thread and all threads, or the number that --threads gives.
std::vector<std::unique_ptr<Context>> make_contexts(Backend backend, std::optional<int> threads) {
  std::vector<std::unique_ptr<Context>> contexts;
  if (backend == Backend::kCuda) {
    contexts.push_back(std::make_unique<Context>(backend, threads.value_or(0)));
  } else if (threads) {
    contexts.push_back(std::make_unique<Context>(Backend::kCpu, *threads));
  } else {
    contexts.push_back(std::make_unique<Context>(Backend::kCpu, 1));
    if (available_processors() > 1) contexts.push_back(std::make_unique<Context>(Backend::kCpu));
  }
  return contexts;
}

struct Options {
  Backend backend = Backend::kCpu;
  std::optional<int> threads;
  bool json = false, quick = false;
};

std::optional<Backend> backend_named(std::string_view name) {
  if (name == "cpu") return Backend::kCpu;
  if (name == "cuda") return Backend::kCuda;
  return {};
}

/// Parses the options that Google Benchmark left on the command line. Empty if they are not understood.
std::optional<Options> parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--json") {
      options.json = true;
    } else if (arg == "--quick") {
      options.quick = true;
    } else if (arg == "--threads" && i + 1 < argc && std::atoi(argv[i + 1]) > 0) {
      options.threads = std::atoi(argv[++i]);
    } else if (arg == "--backend" && i + 1 < argc && backend_named(argv[i + 1])) {
      options.backend = *backend_named(argv[++i]);
    } else if (arg == "--instructions" && i + 1 < argc && use_instruction_set(argv[i + 1])) {
      ++i;
    } else {
      fmt::print(stderr,
                 "{}: expected --json, --quick, --backend cpu or cuda, --threads N (N of at least 1), "
                 "--instructions NAME (a set of "
                 "this machine: {}) or an option of Google Benchmark, got {}\n",
                 argv[0], fmt::join(instruction_sets(), ", "), arg);
      return {};
    }
  }
  return options;
}

}  // namespace

int Suite::run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const std::optional<Options> options = parse(argc, argv);
  if (!options) return 2;

  const auto contexts = make_contexts(options->backend, options->threads);
  nlohmann::ordered_json report{{"suite", name_}, {"instructions", instruction_set()}};
  if (!options->json) fmt::print("bench {}: {}\n", name_, instruction_set());
  std::vector<Row> rows;
  for (const auto& ctx : contexts) {
    const Ceilings machine = measure_ceilings(*ctx, options->quick);
    report["ceilings"].push_back(to_json(ctx->threads(), machine));
    if (!options->json) {
      const std::string bf16 =
          machine.bf16_flops > 0 ? fmt::format(" {:.1f} bf16,", machine.bf16_flops / 1e9) : "";
      fmt::print(
          "ceilings, {}, threads {}: {:.1f} GFLOP/s f32,{} {:.2f} Gexp/s, {:.1f} GB/s read and written, "
          "{:.1f} "
          "GB/s only read\n",
          name_of(ctx->backend()), ctx->threads(), machine.flops / 1e9, bf16, machine.exps / 1e9,
          machine.bytes / 1e9, machine.reads / 1e9);
    }
    for (const Case& c : cases_) {
      if ((options->quick && c.slow) || (c.device_only && ctx->backend() != Backend::kCuda)) continue;
      rows.push_back({.what = &c,
                      .ctx = ctx.get(),
                      .roof = roof_of(c.cost, machine),
                      .id = fmt::format("{}/{}/threads {}", c.family, c.shape, ctx->threads())});
    }
  }

  for (Row& row : rows) {
    benchmark::RegisterBenchmark(row.id.c_str(), [&row](benchmark::State& state) { time(state, row); })
        ->UseRealTime()
        ->MinTime(0.02)
        ->Repetitions(options->quick ? std::min(row.what->repetitions, 3) : row.what->repetitions);
  }
  Table table(rows, !options->json);
  benchmark::RunSpecifiedBenchmarks(&table);

  const auto timed = [](const Row& r) {
    return !r.failure.empty() || std::isfinite(r.seconds);
  };  // not filtered out
  for (const Row& row : rows) {
    if (timed(row)) report["rows"].push_back(to_json(row));
  }
  if (options->json) fmt::print("{}\n", report.dump(2));
  return std::any_of(rows.begin(), rows.end(), [](const Row& r) { return !r.failure.empty(); }) ? 1 : 0;
}

Buffer normal(Memory memory, Shape shape, uint64_t seed, double scale) {
  const Buffer b(Dtype::kF32, shape);
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> distribution(0.0f, static_cast<float>(scale));
  std::generate_n(b.view().as<float>(), shape.count(), [&] { return distribution(engine); });
  return placed(memory, b);
}

Buffer activations(Memory memory, Shape shape, Dtype dtype) {
  return Buffer(memory == Memory::kDevice ? dtype : Dtype::kF32, shape, memory);
}

Buffer normal_activations(Memory memory, Shape shape, Dtype dtype, uint64_t seed) {
  const Buffer exact = normal(Memory::kHost, shape, seed);
  const Buffer rounded(dtype, shape), here(activations(memory, shape, dtype).view().dtype, shape);
  convert(exact.view(), rounded.view());
  convert(rounded.view(), here.view());
  return placed(memory, here);
}

Buffer tokens(Memory memory, Shape shape, uint64_t seed, int64_t below) {
  const Buffer b(Dtype::kI64, shape);
  std::mt19937_64 engine(seed);
  std::uniform_int_distribution<int64_t> distribution(0, below - 1);
  std::generate_n(b.view().as<int64_t>(), shape.count(), [&] { return distribution(engine); });
  return placed(memory, b);
}

Buffer placed(Memory memory, const Buffer& from) {
  Buffer b(from.view().dtype, from.view().shape, memory);
  copy(from.view(), b.view());
  return b;
}

}  // namespace natrix::bench
