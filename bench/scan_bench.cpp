// The selective scan: bound by one exponential per (token, channel, state), which is also the item whose time
// is printed. Backward recomputes each decay once (on a device four times) from states kept before tiles of
// tokens, so that no [T, I, N] is ever stored. Its cost counts one exponential, like forward's.
#include <cmath>
#include <fmt/format.h>

#include "bench/harness.h"
#include "kernels/scan.h"

namespace natrix::bench {
namespace {

struct Sizes {
  int64_t batch, tokens, channels, states;
  Dtype dtype = Dtype::kF32;  // of x, y and their gradients
  std::string to_string() const {
    return fmt::format("B {}  T {}  I {}  N {}{}", batch, tokens, channels, states,
                       in_bf16() ? "  bf16" : "");
  }
  bool in_bf16() const { return dtype == Dtype::kBF16; }
  double items() const { return static_cast<double>(batch * tokens * channels * states); }
};

/// dt with the distribution of softplus's output at initialisation: log-uniform in [1e-3, 1e-1].
Buffer time_steps(Memory memory, Shape shape, uint64_t seed) {
  const Buffer b = normal(Memory::kHost, shape, seed);
  float* p = b.view().as<float>();
  for (int64_t i = 0; i < shape.count(); ++i) {
    p[i] = std::pow(10.0f, -2 + std::erf(p[i] / std::sqrt(2.0f)));  // erf of a normal is uniform in (−1, 1)
  }
  return placed(memory, b);
}

/// A_log = log(1 … N) in every channel.
Buffer initial_rates(Memory memory, int64_t channels, int64_t states) {
  const Buffer b(Dtype::kF32, {channels, states});
  for (int64_t i = 0; i < channels; ++i) {
    for (int64_t n = 0; n < states; ++n) b.view().row<float>(i)[n] = std::log(static_cast<float>(n + 1));
  }
  return placed(memory, b);
}

struct Operands {
  Operands(Memory memory, const Sizes& s)
      : x(normal_activations(memory, {s.batch, s.tokens, s.channels}, s.dtype, 1)),
        dt(time_steps(memory, {s.batch, s.tokens, s.channels}, 2)),
        A_log(initial_rates(memory, s.channels, s.states)),
        B(normal(memory, {s.batch, s.tokens, s.states}, 3)),
        C(normal(memory, {s.batch, s.tokens, s.states}, 4)),
        D(normal(memory, {s.channels}, 5)),
        dy(normal_activations(memory, {s.batch, s.tokens, s.channels}, s.dtype, 6)),
        y(activations(memory, {s.batch, s.tokens, s.channels}, s.dtype)),
        state(Dtype::kF32, {s.batch, s.channels, s.states}, memory),
        dx(activations(memory, {s.batch, s.tokens, s.channels}, s.dtype)),
        ddt(Dtype::kF32, {s.batch, s.tokens, s.channels}, memory),
        dB(Dtype::kF32, {s.batch, s.tokens, s.states}, memory),
        dC(Dtype::kF32, {s.batch, s.tokens, s.states}, memory),
        dA_log(Dtype::kF32, {s.channels, s.states}, memory),
        dD(Dtype::kF32, {s.channels}, memory) {}

  void forward(Context& ctx, View tile_states = {}) const {
    scan_forward(ctx, {.x = x.view(),
                       .dt = dt.view(),
                       .A_log = A_log.view(),
                       .B = B.view(),
                       .C = C.view(),
                       .D = D.view(),
                       .y = y.view(),
                       .state_out = state.view(),
                       .tile_states = tile_states});
  }

  void forward_and_backward(Context& ctx) const {
    Arena::Frame frame(ctx.arena());
    const View tile_states =
        ctx.arena().take(Dtype::kF32, tile_states_shape(ctx.backend(), x.view().shape, A_log.view().cols()));
    forward(ctx, tile_states);
    scan_backward(ctx, {.x = x.view(),
                        .dt = dt.view(),
                        .A_log = A_log.view(),
                        .B = B.view(),
                        .C = C.view(),
                        .D = D.view(),
                        .tile_states = tile_states,
                        .dy = dy.view(),
                        .dx = dx.view(),
                        .ddt = ddt.view(),
                        .dB = dB.view(),
                        .dC = dC.view(),
                        .dA_log = dA_log.view(),
                        .dD = dD.view()});
  }

  Buffer x, dt, A_log, B, C, D, dy;
  Buffer y, state, dx, ddt, dB, dC, dA_log, dD;
};

void add_cases(Suite& suite, const Sizes& s) {
  const auto add = [&](std::string family, auto run, auto outputs) {
    suite.add({.family = std::move(family),
               .shape = s.to_string(),
               .cost = {.exps = s.items()},
               .set_up = trial_on<Operands>(s, run, outputs),
               .items = s.items(),
               .tolerance = s.in_bf16() ? kBf16Tolerance : 1e-5,
               .device_only = s.in_bf16()});
  };
  const auto forward_outputs = [](const Operands& o) {
    return std::vector<View>{o.y.view(), o.state.view()};
  };
  const auto all_outputs = [](const Operands& o) {
    return std::vector<View>{o.y.view(),  o.state.view(), o.dx.view(),     o.ddt.view(),
                             o.dB.view(), o.dC.view(),    o.dA_log.view(), o.dD.view()};
  };
  add(
      "scan_forward", [](Context& ctx, const Operands& o) { o.forward(ctx); }, forward_outputs);
  if (s.tokens == 1) return;  // decoding has no backward
  add(
      "scan_forward_backward", [](Context& ctx, const Operands& o) { o.forward_and_backward(ctx); },
      all_outputs);
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  natrix::bench::Suite suite("scan");
  natrix::bench::add_cases(suite, {.batch = 1, .tokens = 512, .channels = 1536, .states = 16});  // Mamba-130M
  natrix::bench::add_cases(suite, {.batch = 1, .tokens = 512, .channels = 512, .states = 16});  // d_model 256
  natrix::bench::add_cases(suite, {.batch = 4, .tokens = 512, .channels = 512, .states = 16});
  natrix::bench::add_cases(suite, {.batch = 1, .tokens = 1, .channels = 1536, .states = 16});  // decoding
  natrix::bench::add_cases(suite, {.batch = 1, .tokens = 40, .channels = 64, .states = 16});   // smoke test
  natrix::bench::add_cases(suite,
                           {.batch = 1, .tokens = 2048, .channels = 1536, .states = 16});  // fills a device
  for (const int64_t tokens : {40, 2048}) {
    natrix::bench::add_cases(
        suite, {.batch = 1, .tokens = tokens, .channels = 1536, .states = 16, .dtype = natrix::Dtype::kBF16});
  }
  return suite.run(argc, argv);
}
