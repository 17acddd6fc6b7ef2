// GradSync: every gradient becomes its sum over the ranks that hold the parameter: all of them, or, for
// experts that are spread, those that own the same ones. A sum and no mean: the loss whose gradients these
// are was divided by the predictions of the whole step already.
//
// Gradients lie in the order of the stack in one buffer, and backward is done with them from the last to the
// first. They travel in buckets, each as soon as backward has left it. A few are under way at a time, which
// bounds the memory of their sums.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "core/layers/param.h"
#include "distributed/communicator.h"

namespace natrix {

/// Bytes of gradients that so many ranks sum at once; `asked` (parallel.bucket) if it is not 0. Each sums a
/// piece, in messages to and from all others: a piece is to outweigh what its messages cost, and the scratch
/// of a reduction, a bucket, to stay small.
int64_t gradient_bucket(int ranks, int64_t asked = 0);

class GradSync {
 public:
  /// Of each axis; the others follow.
  static constexpr size_t kAtOnce = 4;

  /// Both borrowed. Nobody else uses them between the first done() and finish(): ranks start their buckets in
  /// the same order, but not at the same places of the program.
  GradSync(Communicator& everywhere, Communicator& expert_data, int64_t bucket = 0);

  /// The gradients of params[first] and those after it are complete on this rank. Starts and moves on, waits
  /// for nothing. `params` are those of every call.
  void done(Context& ctx, const std::vector<Param*>& params, size_t first);
  /// All are complete; returns when all are sums.
  void finish(Context& ctx, const std::vector<Param*>& params);

 private:
  /// One axis and its buckets, from the last to the first.
  struct Lane {
    Communicator& axis;
    int64_t bucket;
    std::deque<View> due = {};
    std::deque<Pending> under_way = {};

    void add(char* begin, char* end, Dtype dtype);
    void move_on(Context& ctx, const void* complete_from);
    bool ended() const { return due.empty() && under_way.empty(); }
  };
  void begin(const std::vector<Param*>& params);

  Lane everywhere_, expert_data_;
  bool begun_ = false;
};

}  // namespace natrix
