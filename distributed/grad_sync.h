// GradSync: every gradient becomes its sum over the ranks that hold the parameter: all of them, or, for
// experts that are spread, those that own the same ones. A sum and no mean: the loss whose gradients these
// are was divided by the predictions of the whole step already.
#pragma once

#include <vector>

#include "core/layers/param.h"
#include "distributed/communicator.h"

namespace natrix {

/// Bytes of gradients that so many ranks sum at once. Each sums a piece, in messages to and from all others:
/// a piece is to outweigh what its messages cost, and the scratch of a reduction, a bucket, to stay small.
int64_t gradient_bucket(int ranks);

class GradSync {
 public:
  /// Both borrowed.
  GradSync(Communicator& world, Communicator& expert_data) : world_(world), expert_data_(expert_data) {}
  /// Gradients lie in the order of `params` in one buffer, so neighbours travel together, in buckets.
  void run(Context& ctx, const std::vector<Param*>& params);

 private:
  Communicator &world_, &expert_data_;
};

}  // namespace natrix
