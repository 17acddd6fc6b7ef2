// What the benchmarks share: a case is verified against the reference backend, then timed on the CPU backend
// with one thread and with all of them, or on backend cuda, and its figure is printed beside the ceiling that
// bounds it.
//
//   int main(int argc, char** argv) {
//     natrix::bench::Suite suite("routing");
//     suite.add({.family = "gather_rows", .shape = "T 4096  D 768", .cost = {.bytes = …}, .set_up = …});
//     return suite.run(argc, argv);
//   }
//
// Options of every program: --backend cuda (instead of cpu), --threads N (only these), --instructions NAME
// (AVX2 on an AVX-512 machine, say),
// --quick (few repetitions, no slow cases: to see that it works), --json (one JSON object on stdout and
// nothing else there), and Google Benchmark's, which runs the timing loops: --benchmark_filter=REGEX,
// --benchmark_min_time=SECONDS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/buffer.h"
#include "kernels/base/context.h"

namespace natrix::bench {

/// What one call must do at least: operations of the formula, and each operand's bytes once. The ceiling of a
/// case is its roofline, the machine's time for the dearest of the three.
struct Cost {
  double flops = 0;       // a multiply-add counts two
  double bf16_flops = 0;  // of matrix products in bf16
  double exps = 0;
  double bytes = 0;  // read + written where arrays go in and arrays come out, at that rate
  double reads = 0;  // read beyond that (weights, whatever is only summed up), at the rate of only reading
};

/// Operands in place, ready to be used again and again.
struct Trial {
  std::function<void()> run;
  std::vector<View> outputs;  // of one run, floats wherever they lie, to be compared with the reference's
  /// Instead of outputs, where the reference would take hours: what is wrong with what it runs, or nothing.
  std::function<std::string()> check;
};

struct Case {
  std::string family;  // the kernel
  std::string shape;   // "T 4096  D 768"
  Cost cost;
  /// Makes the operands; called with contexts of both backends and has to give both the same (seeded)
  /// numbers. `ctx` outlives the trial; what `run` uses is best held by a shared_ptr in its capture.
  std::function<Trial(Context&)> set_up;
  double items = 0;         // what one call does so many of; if given, the time of each is printed too
  std::string unit;         // of items; if given, so many a second are printed instead
  double tolerance = 1e-5;  // on max |cpu − reference| / max |reference|, for each output
  int repetitions = 25;
  bool slow = false;         // left out by --quick
  bool device_only = false;  // of a size, or in a dtype, that the CPU is not asked for
};

/// A set_up that makes Operands from the context's memory and `sizes` and holds them for as long as the
/// trial; run(ctx, operands).
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

/// f32, normally distributed, the same for the same seed.
Buffer normal(Memory memory, Shape shape, uint64_t seed, double scale = 1.0);
/// As `dtype` stores them on a device; with the host, where only the reference has them, the same in f32.
Buffer activations(Memory memory, Shape shape, Dtype dtype);
Buffer normal_activations(Memory memory, Shape shape, Dtype dtype, uint64_t seed);
/// On what bf16 stores: one rounding, beside the sums' own.
inline constexpr double kBf16Tolerance = 1.0 / 256;
/// i64, each of [0, below) as likely as any other.
Buffer tokens(Memory memory, Shape shape, uint64_t seed, int64_t below);
/// A copy in that memory.
Buffer placed(Memory memory, const Buffer& from);

}  // namespace natrix::bench
