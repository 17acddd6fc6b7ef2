// How the CPU kernels of Mamba-2 divide their work. All sizes are constants, so results do not depend on the
// number of threads.
//
//   tile     64 tokens, from multiples of 64 in the segment: within a tile the recurrence is a few matrix
//            products (docs/math/ssd.md), between tiles only the state passes.
//   block    at most 4 heads of one group of one sequence: one task. They share C Bᵀ. Sums over heads
//            (dB, dC) are kept per block and added in order of the blocks.
//   stretch  512 tokens: backward keeps each block's share of dB and dC for one stretch at a time.
//
// Inside a task the state is transposed, [n][p], so that lanes are the channels of a head. Rows are padded
// with zeros to whole vectors.
#pragma once

#include <atomic>

#include "kernels/base/parallel.h"

namespace natrix::cpu {

inline constexpr int64_t kSsdTile = 64;
inline constexpr int64_t kSsdBlock = 4;
inline constexpr int64_t kSsdStretch = 512;
inline constexpr int64_t kSsdPad = 16;  // floats; the longest vector

inline int64_t padded(int64_t floats) {
  return (floats + kSsdPad - 1) / kSsdPad * kSsdPad;
}

/// A block of heads of one group of one sequence.
struct SsdTask {
  int64_t index;  // of all tasks
  int64_t sequence, group, block;
  int64_t first, count;  // heads
};

/// Tokens [begin, begin + count) of the segment.
struct SsdTile {
  int64_t begin, count;
};

struct SsdPlan {
  int64_t batch, tokens, heads, groups, channels, states;  // B, T, H, G, P, N

  SsdPlan(View dt, View x, View B, int64_t groups_);

  int64_t heads_a_group() const { return heads / groups; }
  int64_t blocks() const { return (heads_a_group() + kSsdBlock - 1) / kSsdBlock; }  // of a group
  int64_t tasks() const { return batch * groups * blocks(); }
  SsdTask task(int64_t index) const;
  int64_t tiles() const { return (tokens + kSsdTile - 1) / kSsdTile; }
  SsdTile tile(int64_t index) const;
  int64_t stretches() const { return (tokens + kSsdStretch - 1) / kSsdStretch; }
  int64_t state_floats() const { return states * padded(channels); }  // of a head

  /// Floats between packed rows of B and C. With a power of two, a column of a tile would fall into a few sets
  /// of the L1 cache.
  int64_t group_step() const { return padded(states) + kSsdPad; }

  int64_t row(const SsdTask& task, int64_t t) const { return task.sequence * tokens + t; }
  /// A head's index in [B, H].
  int64_t head(const SsdTask& task, int64_t h) const { return task.sequence * heads + h; }
  /// A head's part of a state [B, H, P, N], or null.
  float* state(View v, const SsdTask& task, int64_t h) const {
    return v ? v.as<float>() + head(task, h) * channels * states : nullptr;
  }
};

/// Calls run(task, room) for every task on the context's threads, where `room` is scratch of `floats` floats.
template <class Run>
void for_ssd_tasks(Context& ctx, const SsdPlan& plan, int64_t floats, const Run& run) {
  constexpr int64_t kWorthwhile = 1 << 18;  // multiply-adds: some 10 µs
  const int64_t work = plan.batch * plan.tokens * plan.heads * plan.state_floats();
  const int64_t workers = work < kWorthwhile ? 1 : std::min<int64_t>(ctx.threads(), plan.tasks());
  Arena::Frame frame(ctx.arena());
  const View room = ctx.arena().take(Dtype::kF32, {workers, padded(floats)});
  std::atomic<int64_t> next{0};
  parallel_for(ctx, workers, 1, [&](int64_t worker, int64_t) {
    for (int64_t i; (i = next.fetch_add(1)) < plan.tasks();) run(plan.task(i), room.row<float>(worker));
  });
}

}  // namespace natrix::cpu
