// The short convolution with SiLU. Bound by memory where its operands do not fit a cache,
// otherwise by SiLU's exponential.
#include <fmt/format.h>

#include "bench/harness.h"
#include "kernels/conv.h"

namespace natrix::bench {
namespace {

struct Sizes {
  int64_t tokens, channels, taps;
  Dtype dtype = Dtype::kF32;  // of x, y and their gradients
  std::string to_string() const {
    return fmt::format("T {}  I {}  K {}{}", tokens, channels, taps, in_bf16() ? "  bf16" : "");
  }
  bool in_bf16() const { return dtype == Dtype::kBF16; }
  double elements() const { return static_cast<double>(tokens * channels); }
};

/// x is the left half of in_proj's output, so its row stride is twice its width.
struct Operands {
  Operands(Memory memory, const Sizes& s)
      : xz(normal_activations(memory, {1, s.tokens, 2 * s.channels}, s.dtype, 1)),
        weight(normal(memory, {s.channels, s.taps}, 2)),
        bias(normal(memory, {s.channels}, 3)),
        dy(normal_activations(memory, {1, s.tokens, s.channels}, s.dtype, 4)),
        y(activations(memory, {1, s.tokens, s.channels}, s.dtype)),
        dxz(activations(memory, {1, s.tokens, 2 * s.channels}, s.dtype)),
        dweight(Dtype::kF32, {s.channels, s.taps}, memory),
        dbias(Dtype::kF32, {s.channels}, memory),
        x(xz.view().columns(0, s.channels)),
        dx(dxz.view().columns(0, s.channels)) {}

  void forward(Context& ctx) const {
    conv_silu_forward(ctx, {.x = x, .weight = weight.view(), .bias = bias.view(), .y = y.view()});
  }
  void backward(Context& ctx) const {
    conv_silu_backward(ctx, {.x = x,
                             .weight = weight.view(),
                             .bias = bias.view(),
                             .dy = dy.view(),
                             .dx = dx,
                             .dweight = dweight.view(),
                             .dbias = dbias.view()});
  }

  Buffer xz, weight, bias, dy, y, dxz, dweight, dbias;
  View x, dx;
};

void add_cases(Suite& suite, const Sizes& s) {
  const auto bytes = static_cast<double>(size_of(s.dtype));
  const auto add = [&](std::string family, double arrays, auto run, auto outputs) {
    suite.add({.family = std::move(family),
               .shape = s.to_string(),
               .cost = {.exps = s.elements(), .bytes = arrays * bytes * s.elements()},
               .set_up = trial_on<Operands>(s, run, outputs),
               .items = s.elements(),
               .tolerance = s.in_bf16() ? kBf16Tolerance : 1e-5,
               .device_only = s.in_bf16()});
  };
  add(
      "conv_silu_forward", 2, [](Context& ctx, const Operands& o) { o.forward(ctx); },
      [](const Operands& o) { return std::vector<View>{o.y.view()}; });
  add(
      "conv_silu_backward", 3, [](Context& ctx, const Operands& o) { o.backward(ctx); },
      [](const Operands& o) {
        return std::vector<View>{o.dx, o.dweight.view(), o.dbias.view()};
      });
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  natrix::bench::Suite suite("conv");
  natrix::bench::add_cases(suite, {.tokens = 512, .channels = 1536, .taps = 4});    // a chunk of Mamba-130M
  natrix::bench::add_cases(suite, {.tokens = 16384, .channels = 1536, .taps = 4});  // beyond every cache
  natrix::bench::add_cases(suite, {.tokens = 40, .channels = 64, .taps = 4});       // smoke test
  for (const int64_t tokens : {40, 16384}) {
    natrix::bench::add_cases(suite,
                             {.tokens = tokens, .channels = 1536, .taps = 4, .dtype = natrix::Dtype::kBF16});
  }
  return suite.run(argc, argv);
}
