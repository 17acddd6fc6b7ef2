// Shared by the benchmarks. A case is verified against the reference backend and then timed: on the CPU
// backend with one thread and with all of them, or on backend cuda. Its figure is printed next to the
// ceiling that bounds it.
//
//   int main(int argc, char** argv) {
//     natrix::bench::Suite suite("routing");
//     suite.add({.family = "gather_rows", .shape = "T 4096  D 768", .cost = {.bytes = …}, .set_up = …});
//     return suite.run(argc, argv);
//   }
//
// Options of every program: --backend cuda (instead of cpu), --threads N (only this number), --instructions
// NAME (for example AVX2 on an AVX-512 machine), --quick (few repetitions and no slow cases: a smoke test),
// --json (one JSON object and nothing else on stdout), and the options of Google Benchmark, which runs the
// timing loops: --benchmark_filter=REGEX, --benchmark_min_time=SECONDS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/context.h"

namespace natrix::bench {

/// The least that one call must do: the operations of the formula, and each operand's bytes once. The
/// roofline of a case is the longest of the machine's times for these costs.
struct Cost {
  double flops = 0;       // a multiply-add counts two
  double bf16_flops = 0;  // of matrix products in bf16
  double exps = 0;
  double bytes = 0;  // read + written, where a kernel reads and writes arrays; held to the copy rate
  double reads = 0;  // bytes only read beyond that (weights, sums), held to the read rate
};

/// A case with its operands in place, ready to run repeatedly.
struct Trial {
  std::function<void()> run;
  std::vector<View> outputs;  // outputs of one run (floats, in any memory), compared with the reference's
  /// Instead of outputs, where the reference would take hours: returns what is wrong, or an empty string.
  std::function<std::string()> check;
};

struct Case {
  std::string family;  // the kernel
  std::string shape;   // "T 4096  D 768"
  Cost cost;
  /// Makes the operands. Called with contexts of both backends, and must produce the same (seeded) numbers
  /// for both. `ctx` outlives the trial. Let `run` hold its operands by a shared_ptr in its capture.
  std::function<Trial(Context&)> set_up;
  double items = 0;         // number of items in one call; if given, the time of each is printed too
  std::string unit;         // unit of items; if given, items per second are printed instead
  double tolerance = 1e-5;  // on max |cpu − reference| / max |reference|, for each output
  int repetitions = 25;
  bool slow = false;         // left out by --quick
  bool device_only = false;  // too large for the CPU, or in a dtype that the CPU lacks
};

/// A set_up that makes Operands from the context's memory and `sizes`, keeps them as long as the trial, and
/// calls run(ctx, operands).
template <class Operands, class Sizes, class Run, class Outputs>
std::function<Trial(Context&)> trial_on(Sizes sizes, Run run, Outputs outputs) {
  return [=](Context& ctx) {
    const auto o = std::make_shared<const Operands>(ctx.memory(), sizes);
    return Trial{.run = [&ctx, o, run] { run(ctx, *o); }, .outputs = outputs(*o)};
  };
}

class Suite {
 public:
  explicit Suite(std::string name) : name_(std::move(name)) {}
  void add(Case c) { cases_.push_back(std::move(c)); }
  /// Exit status: 0; 1 if a case differs from the reference; 2 for an unknown option.
  int run(int argc, char** argv);

 private:
  std::string name_;
  std::vector<Case> cases_;
};

/// f32, normally distributed, determined by the seed.
Buffer normal(Memory memory, Shape shape, uint64_t seed, double scale = 1.0);
/// Activations stored as `dtype` on a device. On the host, for the reference, the same values in f32.
Buffer activations(Memory memory, Shape shape, Dtype dtype);
Buffer normal_activations(Memory memory, Shape shape, Dtype dtype, uint64_t seed);
/// Tolerance for results stored in bf16: one rounding, besides those of the sums.
inline constexpr double kBf16Tolerance = 1.0 / 256;
/// i64, uniformly distributed in [0, below).
Buffer tokens(Memory memory, Shape shape, uint64_t seed, int64_t below);
/// A copy of `from` in that memory.
Buffer placed(Memory memory, const Buffer& from);

}  // namespace natrix::bench
