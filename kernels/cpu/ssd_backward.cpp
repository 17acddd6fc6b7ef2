// Mamba-2 backward, tile by tile from the last to the first. Gradients: docs/math/ssd.md.
//
// R is the gradient of the state after the tile, S the state before it, which forward saved. A tile costs
// four products with a state: dx takes R, dB takes R, dC takes S, and R moves on to the tile before.
//
// Sums over heads are partial per block and added in order of the blocks. Sums over tokens are in order of
// time, sums over sequences in order of the batch. So the number of threads does not change any bit.
#include "kernels/cpu/simd_targets.h"
#include "kernels/cpu/ssd_plan.h"
#include "kernels/ssd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/ssd_backward.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/ssd_backward_scratch.h"
#include "kernels/cpu/ssd_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// A task's arrays. "across" marks a transposed one.
struct BackwardRoom {
  float *B, *C, *B_across, *C_across, *dB_across, *dC_across;  // [tile][N] and [N][tile], of the group
  float *x, *dy, *x_across, *dy_across, *scaled, *dx;          // [tile][P] and [P][tile], of a head
  float *CB, *dyx, *M, *E;  // [tile][tile]: C Bᵀ, dy xᵀ, y = M x, and Σ over heads of dy xᵀ · decay · Δ

  static int64_t floats(const SsdPlan& plan) {
    return kSsdTile * (6 * plan.group_step() + 6 * padded(plan.channels) + 4 * kSsdTile);
  }
  BackwardRoom(const SsdPlan& plan, float* scratch) {
    SsdRoom room(scratch);
    for (float** array : {&B, &C, &B_across, &C_across, &dB_across, &dC_across})
      *array = room.take(kSsdTile * plan.group_step());
    for (float** array : {&x, &dy, &x_across, &dy_across, &scaled, &dx})
      *array = room.take(kSsdTile * padded(plan.channels));
    for (float** array : {&CB, &dyx, &M, &E}) *array = room.take(kSsdTile * kSsdTile);
  }
};

/// Gradients of a tile's decays and steps, by token. See docs/math/ssd.md, "Decays".
struct DecayGradients {
  HWY_ALIGN float as_later[kSsdTile] = {};    // Σ_j of pairs in which this token comes later
  HWY_ALIGN float as_earlier[kSsdTile] = {};  // Σ_i of pairs in which it comes earlier, divided by Δ
  HWY_ALIGN float own[kSsdTile] = {};         // of the pair with itself, divided by Δ
  HWY_ALIGN float from_start[kSsdTile] = {};  // through what it reads of the state before the tile
  HWY_ALIGN float to_end[kSsdTile] = {};      // through what it leaves in the state after it, divided by Δ
  double across = 0;                          // through the decay of the state across the tile
};

/// M of the forward pass, this head's share of E, and what passes through the decays of pairs.
inline HWY_NOINLINE void FillBackwardMatrices(const SsdSteps& s, const SsdDocuments& documents, float D,
                                              bool first, const SsdBackward& a, const SsdUpcoming& next,
                                              const BackwardRoom& r, DecayGradients& g) {
  const Floats d;
  for (int64_t i = 0; i < documents.tokens; ++i) {
    next.ask_head(a.x, i);
    next.ask_head(a.dy, i);
    next.ask_group(a.B, i);
    next.ask_group(a.C, i);
    auto as_later = hn::Zero(d);
    const int64_t row = i * kSsdTile;
    for (int64_t j = 0; j < EndOfRow(i, documents.tokens); j += lanes()) {
      const auto decay = DecaysTo(s, documents, i, j), step = hn::Load(d, s.step + j);
      const auto pairs = hn::Ne(decay, hn::Zero(d));  // elsewhere CB and dyx may hold anything
      const auto CB = hn::IfThenElseZero(pairs, hn::Load(d, r.CB + row + j));
      const auto dyx = hn::IfThenElseZero(pairs, hn::Load(d, r.dyx + row + j));
      const auto decayed = hn::Mul(decay, CB);
      hn::Store(hn::Mul(decayed, step), d, r.M + row + j);
      const auto share = hn::Mul(hn::Mul(decay, step), dyx);
      hn::Store(first ? share : hn::Add(hn::Load(d, r.E + row + j), share), d, r.E + row + j);
      const auto earlier = hn::Lt(hn::Iota(d, static_cast<float>(j)), hn::Set(d, static_cast<float>(i)));
      const auto through = hn::IfThenElseZero(earlier, hn::Mul(decayed, dyx));
      hn::Store(hn::Add(hn::Load(d, g.as_earlier + j), through), d, g.as_earlier + j);
      as_later = hn::MulAdd(through, step, as_later);
    }
    g.as_later[i] = hn::GetLane(hn::SumOfLanes(d, as_later));
    g.own[i] = r.CB[row + i] * r.dyx[row + i];
    r.M[row + i] += D;
  }
}

inline HWY_NOINLINE double DotOfStates(const float* a, const float* b, int64_t count) {
  const Floats d;
  double total = 0;
  constexpr int64_t kRun = 256;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
    const int64_t end = std::min(begin + kRun, count);
    int64_t i = begin;
    for (; i + 2 * lanes() <= end; i += 2 * lanes()) {
      sum0 = hn::MulAdd(hn::Load(d, a + i), hn::Load(d, b + i), sum0);
      sum1 = hn::MulAdd(hn::Load(d, a + i + lanes()), hn::Load(d, b + i + lanes()), sum1);
    }
    for (; i < end; i += lanes()) sum0 = hn::MulAdd(hn::Load(d, a + i), hn::Load(d, b + i), sum0);
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1))));
  }
  return total;
}

/// ddt of a head, and its part of the sums over tokens.
inline HWY_NOINLINE void FinishSteps(const SsdBackward& a, const SsdPlan& plan, const SsdTask& task,
                                     SsdTile tile, int64_t h, const SsdDocuments& documents,
                                     const SsdSteps& s, const DecayGradients& g, SsdHeadSums& sums) {
  const Floats d;
  HWY_ALIGN float slope[kSsdTile];  // dΔ/d(dt)
  const auto least = static_cast<float>(a.dt_min), most = static_cast<float>(a.dt_max);
  for (int64_t t = 0; t < kSsdTile; t += lanes()) {
    const auto raw = hn::Load(d, s.raw + t), step = Softplus(d, raw);
    const auto free = hn::And(hn::Ge(step, hn::Set(d, least)), hn::Le(step, hn::Set(d, most)));
    hn::Store(hn::IfThenElseZero(free, Sigmoid(d, raw)), d, slope + t);
  }
  const double A = -std::exp(static_cast<double>(a.A_log.as<float>()[h]));
  double dA = 0, dbias = 0;
  double later = g.across;  // gradient of a_t: of all decays that span from before a token to it or beyond
  for (int64_t t = 0; t < tile.count; ++t)
    later += static_cast<double>(g.to_end[t]) * static_cast<double>(s.step[t]);
  for (int64_t t = tile.count - 1; t >= 0; --t) {
    const double step = static_cast<double>(s.step[t]);
    later += static_cast<double>(g.as_later[t]) + static_cast<double>(g.from_start[t]) -
             step * (static_cast<double>(g.as_earlier[t]) + static_cast<double>(g.to_end[t]));
    // Nothing passes through a decay of zero. The sum starts anew, so that no rounding error of later tokens
    // does either.
    if (documents.starts_at(t) || step * A * std::numbers::log2e_v<double> <= kSsdNoDecay) later = 0;
    const double dstep = later * A + static_cast<double>(g.own[t]) + static_cast<double>(g.as_earlier[t]) +
                         static_cast<double>(g.to_end[t]);
    const double ddt = dstep * static_cast<double>(slope[t]);
    a.ddt.row<float>(plan.row(task, tile.begin + t))[h] = static_cast<float>(ddt);
    dA += later * step;
    dbias += ddt;
  }
  sums.A += dA;
  sums.dt_bias += dbias;
}

/// One head of a tile. R is replaced by the gradient of the state before the tile.
HWY_INLINE void RetreatHead(const SsdBackward& a, const SsdPlan& plan, const SsdTask& task, SsdTile tile,
                            int64_t i, const SsdDocuments& documents, const float* S, float* R,
                            const BackwardRoom& r, SsdHeadSums& sums) {
  const int64_t h = task.first + i, channel = h * plan.channels, row = plan.row(task, tile.begin);
  const int64_t N = plan.group_step(), width = padded(plan.channels), cols = padded(tile.count);
  SsdSteps steps;
  DecayGradients g;
  PrepareSteps(a, plan, task, tile, h, documents, steps);
  PackSsdRows(a.x, row, tile.count, channel, plan.channels, width, r.x);
  PackSsdRows(a.dy, row, tile.count, channel, plan.channels, width, r.dy);
  TransposeSsd(r.x, width, tile.count, plan.channels, cols, r.x_across);
  TransposeSsd(r.dy, width, tile.count, plan.channels, cols, r.dy_across);
  Multiply(SsdProduct{.rows = tile.count,
                      .cols = cols,
                      .a = {r.dy, width, 1},
                      .b = {r.x_across, cols},
                      .terms = plan.channels,
                      .a2 = {},
                      .b2 = {},
                      .lower = true,
                      .c = r.dyx,
                      .c_row = kSsdTile});
  const SsdUpcoming next(plan, task, tile, i, tile.begin - kSsdTile);
  FillBackwardMatrices(steps, documents, a.D ? a.D.as<float>()[h] : 0.0f, i == 0, a, next, r, g);
  const SsdRowsOut dx{a.dx, row, tile.count, channel, plan.channels, r.dx};
  double dD = 0;
  for (int64_t t = 0; t < tile.count; ++t) dD += static_cast<double>(r.dyx[t * kSsdTile + t]);
  sums.D += dD;

  Multiply(SsdProduct{.rows = tile.count,
                      .cols = width,
                      .a = {r.B, N, 1},
                      .b = {R, width},
                      .terms = plan.states,
                      .scale = steps.weight,
                      .a2 = {r.M, 1, kSsdTile},
                      .b2 = {r.dy, width},
                      .terms2 = tile.count,
                      .which = TermsOf::kFromRow,
                      .c = dx.data(),
                      .c_row = dx.step()});
  dx.unpack();

  Multiply(SsdGradientProduct{.rows = plan.states,
                              .cols = cols,
                              .a = {S, width, 1},
                              .b = {r.dy_across, cols},
                              .terms = plan.channels,
                              .scale = steps.from_start,
                              .weight = nullptr,
                              .other = r.C_across,
                              .dot = g.from_start,
                              .c = r.dC_across,
                              .c_row = cols,
                              .add = i > 0});
  Multiply(SsdGradientProduct{.rows = plan.states,
                              .cols = cols,
                              .a = {R, width, 1},
                              .b = {r.x_across, cols},
                              .terms = plan.channels,
                              .scale = steps.to_end,
                              .weight = steps.step,
                              .other = r.B_across,
                              .dot = g.to_end,
                              .c = r.dB_across,
                              .c_row = cols,
                              .add = i > 0});
  if (steps.decay != 0) g.across = static_cast<double>(steps.decay) * DotOfStates(R, S, plan.state_floats());
  FinishSteps(a, plan, task, tile, h, documents, steps, g, sums);

  ScaleRows(r.dy, steps.from_start, tile.count, width, r.scaled);
  AdvanceSsdState(plan, tile.count, r.C, r.scaled, R, steps.decay, R);
}

/// This block's share of dB and dC of a tile, [tile][N]: what passes through states, and through pairs.
HWY_INLINE void ShareOfStates(const SsdPlan& plan, SsdTile tile, const BackwardRoom& r, float* dB,
                              float* dC) {
  const int64_t N = padded(plan.states), step = plan.group_step(), cols = padded(tile.count);
  TransposeSsd(r.dB_across, cols, plan.states, tile.count, N, dB);
  TransposeSsd(r.dC_across, cols, plan.states, tile.count, N, dC);
  Multiply(SsdProduct{.rows = tile.count,
                      .cols = N,
                      .a = {},
                      .b = {},
                      .a2 = {r.E, 1, kSsdTile},
                      .b2 = {r.C, step},
                      .terms2 = tile.count,
                      .which = TermsOf::kFromRow,
                      .old = dB,
                      .c = dB,
                      .c_row = N});
  Multiply(SsdProduct{.rows = tile.count,
                      .cols = N,
                      .a = {},
                      .b = {},
                      .a2 = {r.E, kSsdTile, 1},
                      .b2 = {r.B, step},
                      .terms2 = tile.count,
                      .which = TermsOf::kUpToRow,
                      .old = dC,
                      .c = dC,
                      .c_row = N});
}

int64_t BackwardFloats(const SsdPlan& plan) {
  return BackwardRoom::floats(plan);
}

/// Walks a block of heads back through a stretch.
void RetreatStretch(const SsdBackward& a, const SsdPlan& plan, const SsdTask& task,
                    const SsdBackwardScratch& shared, int64_t stretch, float* scratch) {
  constexpr int64_t kTiles = kSsdStretch / kSsdTile;
  const BackwardRoom r(plan, scratch);
  const int64_t N = padded(plan.states), step = plan.group_step(), first = task.group * plan.states,
                begin = stretch * kTiles, end = std::min(begin + kTiles, plan.tiles());
  if (end == plan.tiles()) {
    for (int64_t h = task.first; h < task.first + task.count; ++h)
      LoadSsdState(plan.state(a.dstate_out, task, h), plan, shared.state(plan.head(task, h)));
  }
  for (int64_t k = end - 1; k >= begin; --k) {
    const SsdTile tile = plan.tile(k);
    const int64_t row = plan.row(task, tile.begin), cols = padded(tile.count);
    const SsdDocuments documents(a.doc_start, task, tile);
    PackSsdRows(a.B, row, tile.count, first, plan.states, step, r.B);
    PackSsdRows(a.C, row, tile.count, first, plan.states, step, r.C);
    TransposeSsd(r.B, step, tile.count, plan.states, cols, r.B_across);
    TransposeSsd(r.C, step, tile.count, plan.states, cols, r.C_across);
    Multiply(SsdProduct{.rows = tile.count,
                        .cols = cols,
                        .a = {r.C, step, 1},
                        .b = {r.B_across, cols},
                        .terms = plan.states,
                        .a2 = {},
                        .b2 = {},
                        .lower = true,
                        .c = r.CB,
                        .c_row = kSsdTile});
    for (int64_t i = 0; i < task.count; ++i) {
      const int64_t head = plan.head(task, task.first + i);
      RetreatHead(a, plan, task, tile, i, documents, a.tile_states.row<float>(head * plan.tiles() + k),
                  shared.state(head), r, shared.sums(head));
    }
    const int64_t at = (tile.begin - stretch * kSsdStretch) * N;
    ShareOfStates(plan, tile, r, shared.dB(task) + at, shared.dC(task) + at);
  }
  if (stretch == 0) {
    for (int64_t h = task.first; h < task.first + task.count; ++h)
      StoreSsdState(shared.state(plan.head(task, h)), plan, plan.state(a.dstate_in, task, h));
  }
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(BackwardFloats);
HWY_EXPORT(RetreatStretch);

void ssd_backward(Context& ctx, const SsdBackward& args) {
  Arena::Frame frame(ctx.arena());
  const SsdPlan plan(args.dt, args.x, args.B, args.groups);
  const SsdBackwardScratch shared(ctx, plan);
  for (int64_t stretch = plan.stretches() - 1; stretch >= 0; --stretch) {
    for_ssd_tasks(ctx, plan, HWY_DYNAMIC_DISPATCH(BackwardFloats)(plan),
                  [&](const SsdTask& task, float* room) {
                    HWY_DYNAMIC_DISPATCH(RetreatStretch)(args, plan, task, shared, stretch, room);
                  });
    shared.add_blocks(ctx, stretch, args.dB, args.dC);
  }
  shared.add_sequences(args);
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
