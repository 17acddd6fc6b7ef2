// The Mamba-2 recurrence in tiles of 64 tokens: bound by multiply-adds. Its cost counts those of the tiled
// form: per token and head 2 (forward) or 4 (backward) products with the state, and triangles within a tile.
#include <cmath>
#include <fmt/format.h>
#include <memory>

#include "bench/harness.h"
#include "kernels/base/ledger.h"
#include "kernels/ssd.h"

namespace natrix::bench {
namespace {

struct Sizes {
  int64_t batch, tokens, heads, channels, states, groups = 1;
  std::string to_string() const {
    return fmt::format("B {}  T {}  H {}  P {}  N {}  G {}", batch, tokens, heads, channels, states, groups);
  }
};

/// dt before softplus, so that Δ has its distribution at initialisation: log-uniform in [1e-3, 1e-1].
Buffer raw_steps(Memory memory, Shape shape, uint64_t seed) {
  const Buffer b = normal(Memory::kHost, shape, seed);
  float* p = b.view().as<float>();
  for (int64_t i = 0; i < shape.count(); ++i) {
    const float step = std::pow(10.0f, -2 + std::erf(p[i] / std::sqrt(2.0f)));
    p[i] = std::log(std::expm1(step));
  }
  return placed(memory, b);
}

/// A_log as at initialisation: A uniform in [1, 16].
Buffer initial_rates(Memory memory, int64_t heads) {
  const Buffer b(Dtype::kF32, {heads});
  for (int64_t h = 0; h < heads; ++h)
    b.view().as<float>()[h] = std::log(1 + 15 * static_cast<float>(h) / static_cast<float>(heads));
  return placed(memory, b);
}

/// x, B, C and dt are columns of one matrix, as in a layer.
struct Operands {
  Operands(Memory memory, const Sizes& s)
      : groups(s.groups),
        d_inner(s.heads * s.channels),
        xBC(normal(memory, {s.batch, s.tokens, d_inner + 2 * s.groups * s.states}, 1)),
        dt(raw_steps(memory, {s.batch, s.tokens, s.heads}, 2)),
        A_log(initial_rates(memory, s.heads)),
        D(normal(memory, {s.heads}, 5)),
        dy(normal(memory, {s.batch, s.tokens, d_inner}, 6)),
        y(Dtype::kF32, {s.batch, s.tokens, d_inner}, memory),
        state(Dtype::kF32, {s.batch, s.heads, s.channels, s.states}, memory),
        dxBC(Dtype::kF32, xBC.view().shape, memory),
        ddt(Dtype::kF32, dt.view().shape, memory),
        dA_log(Dtype::kF32, {s.heads}, memory),
        dD(Dtype::kF32, {s.heads}, memory) {}

  View x_of(const Buffer& b) const { return b.view().columns(0, d_inner); }
  View B_of(const Buffer& b) const { return b.view().columns(d_inner, (b.view().cols() - d_inner) / 2); }
  View C_of(const Buffer& b) const {
    const int64_t states = (b.view().cols() - d_inner) / 2;
    return b.view().columns(d_inner + states, states);
  }

  SsdForward forward_args(View tile_states = {}) const {
    return {.x = x_of(xBC),
            .dt = dt.view(),
            .A_log = A_log.view(),
            .B = B_of(xBC),
            .C = C_of(xBC),
            .D = D.view(),
            .groups = groups,
            .y = y.view(),
            .state_out = state.view(),
            .tile_states = tile_states};
  }
  SsdBackward backward_args(View tile_states = {}) const {
    return {.x = x_of(xBC),
            .dt = dt.view(),
            .A_log = A_log.view(),
            .B = B_of(xBC),
            .C = C_of(xBC),
            .D = D.view(),
            .groups = groups,
            .tile_states = tile_states,
            .dy = dy.view(),
            .dx = x_of(dxBC),
            .ddt = ddt.view(),
            .dB = B_of(dxBC),
            .dC = C_of(dxBC),
            .dA_log = dA_log.view(),
            .dD = dD.view()};
  }

  void forward_and_backward(Context& ctx) const {
    Arena::Frame frame(ctx.arena());
    const Shape shape =
        ssd_tile_states_shape(ctx.backend(), y.view().shape, D.view().cols(), state.view().cols());
    const View tile_states = ctx.arena().take(Dtype::kF32, shape);
    ssd_forward(ctx, forward_args(shape.count() > 0 ? tile_states : View{}));
    ssd_backward(ctx, backward_args(shape.count() > 0 ? tile_states : View{}));
  }

  int64_t groups, d_inner;
  Buffer xBC, dt, A_log, D, dy;
  Buffer y, state, dxBC, ddt, dA_log, dD;
};

void add_cases(Suite& suite, const Sizes& s) {
  const auto items = static_cast<double>(s.batch * s.tokens);
  const auto shapes =
      std::make_shared<const Operands>(Memory::kHost, Sizes{1, 1, s.heads, s.channels, s.states, s.groups});
  const double forward = natrix::cost(shapes->forward_args()).flops * items,
               backward = natrix::cost(shapes->backward_args()).flops * items;
  const auto add = [&](std::string family, Cost cost, auto run, auto outputs) {
    suite.add({.family = std::move(family),
               .shape = s.to_string(),
               .cost = cost,
               .set_up = trial_on<Operands>(s, run, outputs),
               .items = items,
               .tolerance = 1e-5});
  };
  const auto forward_outputs = [](const Operands& o) {
    return std::vector<View>{o.y.view(), o.state.view()};
  };
  const auto all_outputs = [](const Operands& o) {
    return std::vector<View>{o.y.view(),     o.state.view(), o.x_of(o.dxBC),  o.B_of(o.dxBC),
                             o.C_of(o.dxBC), o.ddt.view(),   o.dA_log.view(), o.dD.view()};
  };
  // One token reads and writes the state, and does no product.
  const Cost step{.bytes = 8.0 * items * static_cast<double>(s.heads * s.channels * s.states)};
  add(
      "ssd forward", s.tokens == 1 ? step : Cost{.flops = forward},
      [](Context& ctx, const Operands& o) {
        SsdForward args = o.forward_args();
        if (o.y.view().extent(1) == 1) args.state_in = args.state_out;
        ssd_forward(ctx, args);
      },
      forward_outputs);
  if (s.tokens == 1) return;  // decoding has no backward
  add(
      "ssd forward+backward", {.flops = forward + backward},
      [](Context& ctx, const Operands& o) { o.forward_and_backward(ctx); }, all_outputs);
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  natrix::bench::Suite suite("ssd");
  using natrix::bench::add_cases;
  add_cases(suite, {.batch = 1, .tokens = 2048, .heads = 24, .channels = 64, .states = 128});  // Mamba-2 130M
  add_cases(suite, {.batch = 1, .tokens = 512, .heads = 8, .channels = 64, .states = 64});
  add_cases(suite, {.batch = 1, .tokens = 512, .heads = 16, .channels = 64, .states = 128, .groups = 8});
  add_cases(suite, {.batch = 1, .tokens = 1, .heads = 24, .channels = 64, .states = 128});  // decoding
  add_cases(suite, {.batch = 1, .tokens = 40, .heads = 2, .channels = 32, .states = 16});   // smoke test
  return suite.run(argc, argv);
}
