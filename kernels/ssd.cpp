#include "kernels/ssd.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

/// Shapes that the four operations share. dt [B, T, H], x (or dy) [B, T, H·P] and B (or C) [B, T, G·N] give
/// the sizes.
struct SsdShapes {
  Dtype dtype;
  int64_t heads, groups, d_state;
  Shape steps;       // [B, T, H]
  Shape activation;  // [B, T, H·P]
  Shape per_state;   // [B, T, G·N]
  Shape state;       // [B, H, P, N]

  SsdShapes(View dt, View dt_bias, View A_log, View x, View B, int64_t groups_)
      : dtype(dt.dtype), heads(dt.shape.cols()), groups(groups_), steps(dt.shape) {
    require(dtype == Dtype::kF32 || dtype == Dtype::kF64, "ssd: dt must be f32 or f64");
    require(dt.shape.rank() == 3 && x.shape.rank() == 3 && B.shape.rank() == 3,
            "ssd: dt must be [B, T, H], x and dy [B, T, H P], B and C [B, T, G N]");
    require(dt.count() > 0, "ssd: a segment has at least one token and head");
    require(groups > 0 && heads % groups == 0, "ssd: the number of heads must be a multiple of the groups");
    require(x.cols() > 0 && x.cols() % heads == 0, "ssd: the columns of x must be a multiple of the heads");
    require(B.cols() > 0 && B.cols() % groups == 0, "ssd: the columns of B must be a multiple of the groups");
    const int64_t batch = dt.extent(0), tokens = dt.extent(1);
    d_state = B.cols() / groups;
    activation = {batch, tokens, x.cols()};
    per_state = {batch, tokens, B.cols()};
    state = {batch, heads, x.cols() / heads, d_state};
    check_view(dt, dtype, steps, "ssd: dt");
    per_head(A_log, "ssd: A_log");
    optional_per_head(dt_bias, "ssd: dt_bias");
  }

  void io(View v, std::string_view what) const { check_view(v, dtype, activation, what); }
  void states_of_token(View v, std::string_view what) const { check_view(v, dtype, per_state, what); }
  void per_head(View v, std::string_view what) const { check_dense(v, dtype, {heads}, what); }
  void optional_per_head(View v, std::string_view what) const {
    if (v) per_head(v, what);
  }
  void optional_state(View v, std::string_view what) const {
    if (v) check_dense(v, dtype, state, what);
  }
  void doc_start(View v) const { check_optional(v, Dtype::kU8, {steps[0], steps[1]}, "ssd: doc_start"); }
  Shape tile_states(const Context& ctx) const {
    return ssd_tile_states_shape(ctx.like(), activation, heads, d_state);
  }
};

template <class Args>
void check_limits(const Args& a) {
  require(a.dt_min >= 0 && a.dt_min <= a.dt_max, "ssd: the limits of the step must be 0 <= dt_min <= dt_max");
}

void check(const Context& ctx, const SsdForward& a) {
  const SsdShapes s(a.dt, a.dt_bias, a.A_log, a.x, a.B, a.groups);
  check_limits(a);
  s.io(a.x, "ssd_forward: x");
  s.states_of_token(a.B, "ssd_forward: B");
  s.states_of_token(a.C, "ssd_forward: C");
  s.optional_per_head(a.D, "ssd_forward: D");
  s.doc_start(a.doc_start);
  s.optional_state(a.state_in, "ssd_forward: state_in");
  s.io(a.y, "ssd_forward: y");
  s.optional_state(a.state_out, "ssd_forward: state_out");
  if (a.tile_states) check_dense(a.tile_states, Dtype::kF32, s.tile_states(ctx), "ssd_forward: tile_states");
}

void check(const Context& ctx, const SsdBackward& a) {
  const SsdShapes s(a.dt, a.dt_bias, a.A_log, a.x, a.B, a.groups);
  check_limits(a);
  s.io(a.x, "ssd_backward: x");
  s.states_of_token(a.B, "ssd_backward: B");
  s.states_of_token(a.C, "ssd_backward: C");
  s.optional_per_head(a.D, "ssd_backward: D");
  s.doc_start(a.doc_start);
  s.optional_state(a.state_in, "ssd_backward: state_in");
  if (a.tile_states || s.tile_states(ctx).count() > 0) {
    check_dense(a.tile_states, Dtype::kF32, s.tile_states(ctx),
                "ssd_backward: tile_states, which ssd_forward leaves");
  }
  s.io(a.dy, "ssd_backward: dy");
  s.optional_state(a.dstate_out, "ssd_backward: dstate_out");
  s.io(a.dx, "ssd_backward: dx");
  check_view(a.ddt, s.dtype, s.steps, "ssd_backward: ddt");
  s.states_of_token(a.dB, "ssd_backward: dB");
  s.states_of_token(a.dC, "ssd_backward: dC");
  require(static_cast<bool>(a.dt_bias) == static_cast<bool>(a.ddt_bias),
          "ssd_backward: dt_bias and ddt_bias come together");
  s.optional_per_head(a.ddt_bias, "ssd_backward: ddt_bias");
  s.per_head(a.dA_log, "ssd_backward: dA_log");
  require(static_cast<bool>(a.D) == static_cast<bool>(a.dD), "ssd_backward: D and dD come together");
  s.optional_per_head(a.dD, "ssd_backward: dD");
  s.optional_state(a.dstate_in, "ssd_backward: dstate_in");
}

void check(const SsdSummary& a) {
  const SsdShapes s(a.dt, a.dt_bias, a.A_log, a.x, a.B, a.groups);
  check_limits(a);
  s.io(a.x, "ssd_summary: x");
  s.states_of_token(a.B, "ssd_summary: B");
  s.doc_start(a.doc_start);
  check_dense(a.decay, s.dtype, {s.steps[0], s.heads}, "ssd_summary: decay");
  check_dense(a.state, s.dtype, s.state, "ssd_summary: state");
}

void check(const SsdSummaryBackward& a) {
  const SsdShapes s(a.dt, a.dt_bias, a.A_log, a.dy, a.C, a.groups);
  check_limits(a);
  s.io(a.dy, "ssd_summary_backward: dy");
  s.states_of_token(a.C, "ssd_summary_backward: C");
  s.doc_start(a.doc_start);
  check_dense(a.decay, s.dtype, {s.steps[0], s.heads}, "ssd_summary_backward: decay");
  check_dense(a.state, s.dtype, s.state, "ssd_summary_backward: state");
}

/// Operations of one product with all states, [B, T, H, P, N], and those of all products of [tile, tile].
struct Products {
  double states, tiles;

  Products(View x, View B, int64_t heads, int64_t groups) {
    constexpr double kTile = 64;  // kernels/cpu/ssd_plan.h
    const auto rows = static_cast<double>(x.rows()), d_state = static_cast<double>(B.cols() / groups);
    states = 2 * rows * static_cast<double>(x.cols()) * d_state;
    // C Bᵀ once for four heads, and its product with x: half of each, as they are triangles.
    tiles = rows * kTile * (static_cast<double>(x.cols()) + d_state * static_cast<double>(heads + 3) / 4);
  }
};

double steps_of(View dt) {
  constexpr double kTile = 64;
  return static_cast<double>(dt.count()) * (kTile / 2 + 4);  // decays between tokens of a tile, and softplus
}

}  // namespace

Shape ssd_tile_states_shape(Backend backend, const Shape& x, int64_t heads, int64_t d_state) {
  return backend == Backend::kCpu ? cpu::ssd_tile_states_shape(x, heads, d_state) : Shape{0};
}

Cost cost(const SsdForward& a) {
  const Products p(a.x, a.B, a.dt.cols(), a.groups);
  return {.work = Work::kProducts,
          .flops = 2 * p.states + p.tiles,
          .exps = steps_of(a.dt),
          .bytes = bytes_of({a.x, a.dt, a.B, a.C, a.y, a.state_in, a.state_out, a.tile_states})};
}

Cost cost(const SsdBackward& a) {
  const Products p(a.x, a.B, a.dt.cols(), a.groups);
  return {.work = Work::kProducts,
          .flops = 4 * p.states + 3 * p.tiles,
          .exps = steps_of(a.dt),
          .bytes = bytes_of({a.x, a.dt, a.B, a.C, a.dy, a.dx, a.ddt, a.dB, a.dC, a.tile_states, a.dstate_out,
                             a.dstate_in})};
}

Cost cost(const SsdSummary& a) {
  const Products p(a.x, a.B, a.dt.cols(), a.groups);
  return {.work = Work::kMaps, .flops = p.states, .bytes = bytes_of({a.x, a.B, a.decay, a.state})};
}

Cost cost(const SsdSummaryBackward& a) {
  const Products p(a.dy, a.C, a.dt.cols(), a.groups);
  return {.work = Work::kMaps, .flops = p.states, .bytes = bytes_of({a.dy, a.C, a.decay, a.state})};
}

namespace {

/// Numbers of the arrays that kernels/cuda/ssd*.cu take for a call, per tile of 64 tokens.
int64_t tile_floats(View dt, View x, View B, int64_t groups, int64_t states, int64_t squares,
                    int64_t per_head) {
  constexpr int64_t kTile = 64;
  const int64_t heads = dt.cols(), tiles = dt.extent(0) * ((dt.extent(1) + kTile - 1) / kTile);
  const int64_t matrices = x.cols() * (B.cols() / groups);  // of all heads
  return tiles * (states * matrices + squares * groups * kTile * kTile + kTile * (per_head * heads + 1));
}

}  // namespace

int64_t scratch(Backend backend, const SsdForward& a) {
  if (backend != Backend::kCuda) return 0;
  return tile_floats(a.dt, a.x, a.B, a.groups, 1, 1, 3) * size_of(Dtype::kF32);
}

int64_t scratch(Backend backend, const SsdBackward& a) {
  if (backend != Backend::kCuda) return 0;
  return tile_floats(a.dt, a.x, a.B, a.groups, 2, 2, 6) * size_of(Dtype::kF32);
}

void ssd_forward(Context& ctx, const SsdForward& args) {
  check(ctx, args);
  dispatch<SsdForward>(
      ctx, "ssd_forward", args,
      {.reference = reference::ssd_forward, .cpu = cpu::ssd_forward, .cuda = if_cuda<cuda::ssd_forward>()});
}

void ssd_backward(Context& ctx, const SsdBackward& args) {
  check(ctx, args);
  dispatch<SsdBackward>(ctx, "ssd_backward", args,
                        {.reference = reference::ssd_backward,
                         .cpu = cpu::ssd_backward,
                         .cuda = if_cuda<cuda::ssd_backward>()});
}

void ssd_summary(Context& ctx, const SsdSummary& args) {
  check(args);
  dispatch<SsdSummary>(
      ctx, "ssd_summary", args,
      {.reference = reference::ssd_summary, .cpu = cpu::ssd_summary, .cuda = if_cuda<cuda::ssd_summary>()});
}

void ssd_summary_backward(Context& ctx, const SsdSummaryBackward& args) {
  check(args);
  dispatch<SsdSummaryBackward>(ctx, "ssd_summary_backward", args,
                               {.reference = reference::ssd_summary_backward,
                                .cpu = cpu::ssd_summary_backward,
                                .cuda = if_cuda<cuda::ssd_summary_backward>()});
}

}  // namespace natrix
