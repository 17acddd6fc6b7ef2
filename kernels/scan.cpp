#include "kernels/scan.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

/// Shapes that the four operations share. dt [B, T, I] and A_log [I, N] give the sizes.
struct ScanShapes {
  Dtype dtype;       // of all operands but x, y and their gradients, which may be bf16
  Shape activation;  // [B, T, I]
  Shape per_state;   // [B, T, N]
  Shape state;       // [B, I, N]
  Shape A;           // [I, N]

  ScanShapes(View dt, View A_log) : dtype(dt.dtype) {
    require(dtype == Dtype::kF32 || dtype == Dtype::kF64, "scan: dt must be f32 or f64");
    require(dt.shape.rank() == 3 && A_log.shape.rank() == 2, "scan: dt must be [B, T, I] and A_log [I, N]");
    require(dt.count() > 0 && A_log.count() > 0, "scan: a segment has at least one token, channel and state");
    const int64_t batch = dt.extent(0), tokens = dt.extent(1), channels = dt.extent(2),
                  states = A_log.extent(1);
    activation = dt.shape;
    per_state = {batch, tokens, states};
    state = {batch, channels, states};
    A = {channels, states};
    check_view(dt, dtype, activation, "scan: dt");
    check_dense(A_log, dtype, A, "scan: A_log");
  }

  /// Checks x, y or one of their gradients. Within one operation they share a dtype.
  void io(View v, View x, std::string_view what) const { check_view(v, at_most(dtype, x), activation, what); }
  void doc_start(View v) const {
    check_optional(v, Dtype::kU8, {activation[0], activation[1]}, "scan: doc_start");
  }
  /// Checks the states that forward saved for backward.
  void tile_states(View v, const Context& ctx, std::string_view what) const {
    check_dense(v, Dtype::kF32, tile_states_shape(ctx.like(), activation, A[1]), what);
  }
  void optional_state(View v, std::string_view what) const {
    if (v) check_dense(v, dtype, state, what);
  }
  void optional_D(View v, std::string_view what) const {
    if (v) check_dense(v, dtype, {activation[2]}, what);
  }
};

void check(const Context& ctx, const ScanForward& a) {
  const ScanShapes s(a.dt, a.A_log);
  s.io(a.x, a.x, "scan_forward: x");
  check_view(a.B, s.dtype, s.per_state, "scan_forward: B");
  check_view(a.C, s.dtype, s.per_state, "scan_forward: C");
  s.optional_D(a.D, "scan_forward: D");
  s.doc_start(a.doc_start);
  s.optional_state(a.state_in, "scan_forward: state_in");
  s.io(a.y, a.x, "scan_forward: y");
  s.optional_state(a.state_out, "scan_forward: state_out");
  if (a.tile_states) s.tile_states(a.tile_states, ctx, "scan_forward: tile_states");
}

void check(const Context& ctx, const ScanBackward& a) {
  const ScanShapes s(a.dt, a.A_log);
  s.io(a.x, a.x, "scan_backward: x");
  check_view(a.B, s.dtype, s.per_state, "scan_backward: B");
  check_view(a.C, s.dtype, s.per_state, "scan_backward: C");
  s.optional_D(a.D, "scan_backward: D");
  s.doc_start(a.doc_start);
  s.optional_state(a.state_in, "scan_backward: state_in");
  if (a.tile_states || tile_states_shape(ctx.like(), s.activation, s.A[1]).count() > 0) {
    s.tile_states(a.tile_states, ctx, "scan_backward: tile_states, which scan_forward leaves");
  }
  s.io(a.dy, a.x, "scan_backward: dy");
  s.optional_state(a.dstate_out, "scan_backward: dstate_out");
  s.io(a.dx, a.x, "scan_backward: dx");
  check_view(a.ddt, s.dtype, s.activation, "scan_backward: ddt");
  check_view(a.dB, s.dtype, s.per_state, "scan_backward: dB");
  check_view(a.dC, s.dtype, s.per_state, "scan_backward: dC");
  check_dense(a.dA_log, s.dtype, s.A, "scan_backward: dA_log");
  require(static_cast<bool>(a.D) == static_cast<bool>(a.dD), "scan_backward: D and dD come together");
  s.optional_D(a.dD, "scan_backward: dD");
  s.optional_state(a.dstate_in, "scan_backward: dstate_in");
}

void check(const ScanSummary& a) {
  const ScanShapes s(a.dt, a.A_log);
  s.io(a.x, a.x, "scan_summary: x");
  check_view(a.B, s.dtype, s.per_state, "scan_summary: B");
  s.doc_start(a.doc_start);
  check_dense(a.decay, s.dtype, s.state, "scan_summary: decay");
  check_dense(a.state, s.dtype, s.state, "scan_summary: state");
}

void check(const ScanSummaryBackward& a) {
  const ScanShapes s(a.dt, a.A_log);
  check_view(a.C, s.dtype, s.per_state, "scan_summary_backward: C");
  s.io(a.dy, a.dy, "scan_summary_backward: dy");
  s.doc_start(a.doc_start);
  check_dense(a.decay, s.dtype, s.state, "scan_summary_backward: decay");
  check_dense(a.state, s.dtype, s.state, "scan_summary_backward: state");
}

/// States that are updated, each with an exponential.
double states_of(View dt, View A_log) {
  return static_cast<double>(dt.count()) * static_cast<double>(A_log.extent(1));
}

}  // namespace

Cost cost(const ScanForward& a) {
  return {.work = Work::kScan,
          .exps = states_of(a.dt, a.A_log),
          .bytes = bytes_of({a.x, a.dt, a.y, a.tile_states})};
}

Cost cost(const ScanSummary& a) {
  return {.work = Work::kMaps, .exps = states_of(a.dt, a.A_log), .bytes = bytes_of({a.decay, a.state})};
}

Cost cost(const ScanSummaryBackward& a) {
  return {.work = Work::kMaps, .exps = states_of(a.dt, a.A_log), .bytes = bytes_of({a.decay, a.state})};
}

Cost cost(Backend backend, const ScanBackward& a) {
  // A CPU's backward takes 2.5 times as long as forward (bench_scan); a GPU's computes more again.
  return {.work = Work::kScan,
          .exps = (backend == Backend::kCuda ? 4 : 2.5) * states_of(a.dt, a.A_log),
          .bytes = bytes_of({a.x, a.dt, a.dy, a.dx, a.ddt, a.tile_states}) +
                   static_cast<double>(scratch(backend, a))};
}

int64_t scratch(Backend backend, const ScanBackward& a) {
  if (backend != Backend::kCuda) return 0;
  // kernels/cuda/scan_backward.cu: of each tile of 32 tokens the state, its gradient and the sum of steps;
  // and sums over 32 channels for dB and dC.
  const int64_t rows = a.dt.extent(0), tokens = a.dt.extent(1), channels = a.dt.extent(2);
  const int64_t states = a.A_log.extent(1), tiles = rows * ((tokens + 31) / 32);
  return (2 * tiles * channels * (states + 1) + (channels + 31) / 32 * rows * tokens * 2 * states) *
         size_of(Dtype::kF32);
}

Shape tile_states_shape(Backend backend, const Shape& activation, int64_t d_state) {
  return backend == Backend::kCpu ? cpu::tile_states_shape(activation, d_state) : Shape{0};
}

void scan_forward(Context& ctx, const ScanForward& args) {
  check(ctx, args);
  dispatch<ScanForward>(ctx, "scan_forward", args,
                        {.reference = reference::scan_forward,
                         .cpu = cpu::scan_forward,
                         .cuda = if_cuda<cuda::scan_forward>()});
}

void scan_backward(Context& ctx, const ScanBackward& args) {
  check(ctx, args);
  dispatch<ScanBackward>(ctx, "scan_backward", args,
                         {.reference = reference::scan_backward,
                          .cpu = cpu::scan_backward,
                          .cuda = if_cuda<cuda::scan_backward>()});
}

void scan_summary(Context& ctx, const ScanSummary& args) {
  check(args);
  dispatch<ScanSummary>(ctx, "scan_summary", args,
                        {.reference = reference::scan_summary,
                         .cpu = cpu::scan_summary,
                         .cuda = if_cuda<cuda::scan_summary>()});
}

void scan_summary_backward(Context& ctx, const ScanSummaryBackward& args) {
  check(args);
  dispatch<ScanSummaryBackward>(ctx, "scan_summary_backward", args,
                                {.reference = reference::scan_summary_backward,
                                 .cpu = cpu::scan_summary_backward,
                                 .cuda = if_cuda<cuda::scan_summary_backward>()});
}

}  // namespace natrix
