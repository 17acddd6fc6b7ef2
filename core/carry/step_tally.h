// StepTally: router statistics of a whole optimizer step, over all its chunks, micro-batches and ranks. It
// holds how often each expert was chosen, and the sums behind the load-balancing loss and the z-loss.
//
// Sweep 1 fills the tally. Sweep 2 reads it after it is complete, so no gradient depends on how the step is
// divided. The loss is that of arXiv 2401.04081; docs/math/balance.md compares layouts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/base/buffer.h"

namespace natrix {

class StepTally {
 public:
  struct Layer {
    Buffer counts;             // [E] f64: choices of each expert
    Buffer score_sum;          // [E] f64: Σ_t p_te
    Buffer squared_logsumexp;  // [1] f64: Σ_t logsumexp_t²
    int64_t dropped = 0;       // choices beyond an expert's capacity
  };

  /// Clears the tally. `tokens`: tokens of the whole step, over all micro-batches and ranks.
  void begin_step(int64_t tokens);
  int64_t tokens() const { return tokens_; }

  Layer& layer(int sublayer, int64_t num_experts);
  const std::map<int, Layer>& layers() const { return layers_; }
  /// All sums of all layers as one array, so that ranks can add them up with one all-reduce.
  std::vector<double> figures() const;
  /// Replaces the sums by `figures`, in the order of figures().
  void set_figures(const std::vector<double>& figures);

  /// Checks that a recomputed segment chooses the same experts as in its first run. Otherwise its gradient
  /// would belong to another function. The first call for (segment, sublayer) stores a hash of the choice;
  /// later calls throw RunError if theirs differs.
  void witness(int64_t segment, int sublayer, View expert);

 private:
  int64_t tokens_ = 0;
  std::map<int, Layer> layers_;
  std::map<std::pair<int64_t, int>, uint64_t> witnessed_;
};

/// Balance figures of one layer from a complete tally, for logs. The losses are without their coefficients.
struct BalanceFigures {
  double aux_loss = 0;       // E · Σ f_e P_e; 1 when perfectly balanced
  double z_loss = 0;         // mean(logsumexp²)
  std::vector<double> load;  // f_e: each expert's share of all choices; sums to one
};
BalanceFigures balance_figures(const StepTally::Layer& layer, int64_t tokens);

}  // namespace natrix
