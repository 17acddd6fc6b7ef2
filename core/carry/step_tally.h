// StepTally: what the auxiliary losses need to know of a whole optimizer step, whatever its chunks,
// micro-batches and ranks: how often each expert was chosen,
// and the sums behind the load-balancing loss and the z-loss.
//
// Sweep 1 fills it; sweep 2 reads the completed tally, so a gradient never depends on how the step was cut
// (arXiv 2401.04081 for the loss; facts on layout dependence: docs/math/balance.md).
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
    Buffer counts;             // [E] f64: slots that chose the expert
    Buffer score_sum;          // [E] f64: Σ_t p_te
    Buffer squared_logsumexp;  // [1] f64: Σ_t logsumexp_t²
    int64_t dropped = 0;       // slots beyond an expert's capacity
  };

  /// Clears. `tokens`: tokens of the whole step, over all micro-batches and ranks.
  void begin_step(int64_t tokens);
  int64_t tokens() const { return tokens_; }

  Layer& layer(int sublayer, int64_t num_experts);
  const std::map<int, Layer>& layers() const { return layers_; }
  /// All figures of all layers in one row, for whoever adds up those of several ranks, and back.
  std::vector<double> figures() const;
  void set_figures(const std::vector<double>& figures);

  /// A recomputed segment must choose the same experts as it did at first, or gradients would be those of
  /// another function. The first visit of (segment, sublayer) records a hash of the choice; later ones must
  /// agree, else RunError.
  void witness(int64_t segment, int sublayer, View expert);

 private:
  int64_t tokens_ = 0;
  std::map<int, Layer> layers_;
  std::map<std::pair<int64_t, int>, uint64_t> witnessed_;
};

/// Balance figures of one layer of a completed tally, for logs: no coefficient applied.
struct BalanceFigures {
  double aux_loss = 0;       // E · Σ f_e P_e; 1 when perfectly balanced
  double z_loss = 0;         // mean(logsumexp²)
  std::vector<double> load;  // f_e: shares that sum to one
};
BalanceFigures balance_figures(const StepTally::Layer& layer, int64_t tokens);

}  // namespace natrix
