// Scratch of Mamba-2's backward pass on the CPU in the arena, and the sums over blocks and sequences.
#pragma once

#include "kernels/cpu/ssd_plan.h"
#include "kernels/ssd.h"

namespace natrix::cpu {

/// A head's sums over the tokens of one sequence.
struct SsdHeadSums {
  double A, D, dt_bias;
};

class SsdBackwardScratch {
 public:
  SsdBackwardScratch(Context& ctx, const SsdPlan& plan);

  /// Of a head of [B, H]: the gradient of its state, and its sums.
  float* state(int64_t head) const { return states_.row<float>(head); }
  SsdHeadSums& sums(int64_t head) const { return reinterpret_cast<SsdHeadSums*>(sums_.data)[head]; }
  /// A block's share of dB and dC in one stretch, [token of the stretch][padded state].
  float* dB(const SsdTask& task) const { return partial_dB_.row<float>(task.index); }
  float* dC(const SsdTask& task) const { return partial_dC_.row<float>(task.index); }

  /// dB, dC of one stretch = the sum of the blocks' shares, in their order.
  void add_blocks(Context& ctx, int64_t stretch, View dB, View dC) const;
  /// dA_log, dD, ddt_bias += the sequences' sums, in their order. dA_log = dA · A.
  void add_sequences(const SsdBackward& a) const;

 private:
  SsdPlan plan_;
  View states_;                   // [B·H, state]
  View sums_;                     // [B·H, 3] f64
  View partial_dB_, partial_dC_;  // [tasks, tokens of a stretch · padded states]
};

}  // namespace natrix::cpu
