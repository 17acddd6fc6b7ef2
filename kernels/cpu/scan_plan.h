// How the CPU scan divides its work. All sizes are constants, so results do not depend on
// the number of threads.
//
//   block    64 channels of one sequence: one task of parallel_for. Sums over channels (dB, dC) are kept per
//            block and added in order of the blocks.
//   tile     32 tokens: a task packs them, vector after vector, and then walks the recurrence in L1. L1 must
//            hold everything that one group needs, also for the backward walk.
//   group    4 states: the innermost loop keeps them in registers (AVX2 has 16).
//   stretch  2048 tokens: backward keeps each block's share of dB and dC for one stretch at a time.
//
// Inside a task the state is transposed, [n][channel of the block], so that lanes are channels. States are
// padded to whole groups and channels to whole blocks; the padding is zero and stays zero.
#pragma once

#include "kernels/base/context.h"

namespace natrix::cpu {

inline constexpr int64_t kScanBlock = 64;
inline constexpr int64_t kScanTile = 32;
inline constexpr int64_t kScanGroup = 4;
inline constexpr int64_t kScanStretch = 2048;

/// A block of channels of one sequence.
struct ScanTask {
  int64_t sequence;  // b
  int64_t block;
  int64_t first, count;  // channels
};

struct ScanPlan {
  int64_t batch, tokens, channels, states;  // B, T, I, N

  ScanPlan(const Shape& activation, int64_t d_state);
  ScanPlan(View dt, View A_log);

  int64_t blocks() const { return (channels + kScanBlock - 1) / kScanBlock; }
  int64_t tasks() const { return batch * blocks(); }
  ScanTask task(int64_t index) const;
  int64_t padded_states() const { return (states + kScanGroup - 1) / kScanGroup * kScanGroup; }
  int64_t state_floats() const { return padded_states() * kScanBlock; }  // of a task
  int64_t tiles() const { return (tokens + kScanTile - 1) / kScanTile; }
  int64_t stretches() const { return (tokens + kScanStretch - 1) / kScanStretch; }
  /// Tasks to hand to a thread at once. With few tokens per task, several tasks make it worth
  /// waking a thread.
  int64_t grain() const;
};

/// B or C with padded states: the view itself if no padding is needed, otherwise a copy in the arena.
View pad_states(Context& ctx, View v, const ScanPlan& plan);

/// A log2 e for every block, [blocks, state_floats()], in a task's layout.
View scaled_rates(Context& ctx, View A_log, const ScanPlan& plan);

/// A block's part of a view [B, T, I], starting at token t.
inline float* block_rows(View v, const ScanPlan& plan, const ScanTask& task, int64_t t) {
  return v.row<float>(task.sequence * plan.tokens + t) + task.first;
}

/// A block's part of a state [B, I, N], as [count][N].
inline float* block_state(View state, const ScanPlan& plan, const ScanTask& task) {
  return state.as<float>() + (task.sequence * plan.channels + task.first) * plan.states;
}

/// Document starts, beginning at token t, or null.
inline const uint8_t* document_starts(View doc_start, const ScanTask& task, int64_t t) {
  return doc_start ? doc_start.row<uint8_t>(task.sequence) + t : nullptr;
}

}  // namespace natrix::cpu
