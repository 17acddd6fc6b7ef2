// Scratch of the CPU scan's backward pass in the arena, and the sums over blocks and sequences.
#pragma once

#include "kernels/cpu/scan_plan.h"

namespace natrix::cpu {

/// One task's part of the scratch. States are in the task's layout.
struct BackwardTask {
  const float* A2;
  float* carried;  // exp(dt A) g: the gradient of the state before the tokens walked so far
  float* dA;       // Σ_t p dt
  float* dD;       // [kScanBlock]
  const float* tile_states;
  float* partial_dB;  // [token of the stretch][padded state]: this block's share
  float* partial_dC;
  int64_t state_floats;

  const float* before_tile(int64_t i) const { return tile_states + i * state_floats; }
};

class BackwardScratch {
 public:
  BackwardScratch(Context& ctx, const ScanPlan& plan, View A2, View tile_states);

  BackwardTask task(int64_t index) const;
  /// dB, dC of one stretch = the sum of the blocks' shares, in their order.
  void add_blocks(Context& ctx, int64_t stretch, View dB, View dC) const;
  /// dA_log, dD += the sequences' shares, in their order. dA_log = dA ⊙ A.
  void add_sequences(Context& ctx, View dA_log, View dD) const;

 private:
  ScanPlan plan_;
  View A2_;                       // [blocks, state]
  View carried_, dA_, dD_;        // [tasks, state], [tasks, state], [tasks, kScanBlock]
  View tile_states_;              // [tasks, tiles, state], saved by forward
  View partial_dB_, partial_dC_;  // [tasks, tokens of a stretch · padded states]
};

}  // namespace natrix::cpu
