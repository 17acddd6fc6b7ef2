// Mamba-2 forward: a tile of tokens is two matrix products with the state, and one with the tile's own rows
// (docs/math/ssd.md). It is bound by multiply-adds; see bench/ssd_bench.cpp.
#include "kernels/ssd.h"

#include "kernels/cpu/simd_targets.h"
#include "kernels/cpu/ssd_step.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/ssd.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/ssd_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

int64_t ForwardFloats(const SsdPlan& plan) {
  const int64_t states = plan.group_step(), channels = padded(plan.channels);
  return kSsdTile * (3 * states + 3 * channels + 2 * kSsdTile) + kSsdBlock * padded(plan.state_floats());
}

/// M[i][j] = decay from j to i · Δ_j · (C Bᵀ)[i][j], and D on the diagonal: y = M x within the tile.
inline HWY_NOINLINE void FillForwardMatrix(const SsdSteps& s, const SsdDocuments& documents,
                                           const float* products, float D, const SsdForward& a,
                                           const SsdUpcoming& next, float* M) {
  const Floats d;
  for (int64_t i = 0; i < documents.tokens; ++i) {
    next.ask_head(a.x, i);
    next.ask_group(a.B, i);
    next.ask_group(a.C, i);
    float* row = M + i * kSsdTile;
    for (int64_t j = 0; j < EndOfRow(i, documents.tokens); j += lanes()) {
      const auto decay = DecaysTo(s, documents, i, j);
      const auto weighted = hn::Mul(hn::Load(d, s.step + j), hn::Load(d, products + i * kSsdTile + j));
      // Beyond the diagonal `products` may hold anything, even a NaN.
      hn::Store(hn::IfThenElseZero(hn::Ne(decay, hn::Zero(d)), hn::Mul(decay, weighted)), d, row + j);
    }
    row[i] += D;
  }
}

/// Walks a block of heads through the segment.
void ForwardTask(const SsdForward& a, const SsdPlan& plan, const SsdTask& task, float* scratch) {
  const int64_t N = plan.group_step(), width = padded(plan.channels), first = task.group * plan.states;
  SsdRoom room(scratch);
  float *B = room.take(kSsdTile * N), *C = room.take(kSsdTile * N), *B_across = room.take(N * kSsdTile);
  float *x = room.take(kSsdTile * width), *scaled = room.take(kSsdTile * width),
        *y_apart = room.take(kSsdTile * width);
  float *products = room.take(kSsdTile * kSsdTile), *M = room.take(kSsdTile * kSsdTile);
  float* states = room.take(kSsdBlock * plan.state_floats());
  SsdSteps steps;
  for (int64_t k = 0; k < plan.tiles(); ++k) {
    const SsdTile tile = plan.tile(k);
    const int64_t row = plan.row(task, tile.begin), cols = padded(tile.count);
    const bool last = k + 1 == plan.tiles();
    const SsdDocuments documents(a.doc_start, task, tile);
    PackSsdRows(a.B, row, tile.count, first, plan.states, N, B);
    PackSsdRows(a.C, row, tile.count, first, plan.states, N, C);
    TransposeSsd(B, N, tile.count, plan.states, cols, B_across);
    Multiply(SsdProduct{.rows = tile.count,
                        .cols = cols,
                        .a = {C, N, 1},
                        .b = {B_across, cols},
                        .terms = plan.states,
                        .a2 = {},
                        .b2 = {},
                        .lower = true,
                        .c = products,
                        .c_row = kSsdTile});
    for (int64_t i = 0; i < task.count; ++i) {
      const int64_t h = task.first + i, channel = h * plan.channels;
      float* own = states + i * plan.state_floats();
      float *before = own, *after = own;
      if (a.tile_states) {
        before = a.tile_states.row<float>(plan.head(task, h) * plan.tiles() + k);
        if (!last) after = before + plan.state_floats();
      }
      const bool zero = k == 0 && !a.state_in;
      if (k == 0 && (!zero || a.tile_states)) LoadSsdState(plan.state(a.state_in, task, h), plan, before);
      PrepareSteps(a, plan, task, tile, h, documents, steps);
      const SsdUpcoming next(plan, task, tile, i, last ? -1 : tile.begin + kSsdTile);
      FillForwardMatrix(steps, documents, products, a.D ? a.D.as<float>()[h] : 0.0f, a, next, M);
      const SsdRowsOut y{a.y, row, tile.count, channel, plan.channels, y_apart};
      PackSsdRows(a.x, row, tile.count, channel, plan.channels, width, x);
      Multiply(SsdProduct{.rows = tile.count,
                          .cols = width,
                          .a = {C, N, 1},
                          .b = {before, width},
                          .terms = zero ? 0 : plan.states,
                          .scale = steps.from_start,
                          .a2 = {M, kSsdTile, 1},
                          .b2 = {x, width},
                          .terms2 = tile.count,
                          .which = TermsOf::kUpToRow,
                          .c = y.data(),
                          .c_row = y.step()});
      y.unpack();
      if (last && !a.state_out) continue;
      ScaleRows(x, steps.weight, tile.count, width, scaled);
      AdvanceSsdState(plan, tile.count, B, scaled, zero ? nullptr : before, steps.decay, after);
      if (last) StoreSsdState(after, plan, plan.state(a.state_out, task, h));
    }
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(ForwardFloats);
HWY_EXPORT(ForwardTask);

void ssd_forward(Context& ctx, const SsdForward& args) {
  const SsdPlan plan(args.dt, args.x, args.B, args.groups);
  if (plan.tokens == 1 && !args.tile_states) return ssd_step(ctx, args, plan);
  for_ssd_tasks(ctx, plan, HWY_DYNAMIC_DISPATCH(ForwardFloats)(plan), [&](const SsdTask& task, float* room) {
    HWY_DYNAMIC_DISPATCH(ForwardTask)(args, plan, task, room);
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
