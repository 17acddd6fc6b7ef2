// GradSync: replaces every gradient by its sum over the ranks that hold the parameter. Those are all ranks,
// or, for sharded experts, the ranks that own the same experts. It is a sum and not a mean: the loss was
// already divided by the number of predictions of the whole step.
//
// Gradients lie in one buffer in the order of the stack, and backward completes them from the last to the
// first. They travel in buckets. A bucket starts as soon as backward has completed it. Only a few buckets are
// in flight at a time, which bounds the memory of their sums.
//
// With shares (ZeRO-1) a rank sums only its share of each bucket, updates the parameters of that share, and
// then sends the new values to the others. This moves as many bytes as whole sums, because an all-reduce
// consists of both steps.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <vector>

#include "core/layers/param.h"
#include "distributed/communicator.h"

namespace natrix {

/// Bytes of gradients that `ranks` ranks sum at once; `asked` (parallel.bucket) if it is not 0. Each
/// rank sums one piece of a bucket, with messages to and from all others. Pieces should be large
/// enough to outweigh the cost of their messages, and buckets small enough to keep the scratch
/// memory of a reduction small.
int64_t gradient_bucket(int ranks, int64_t asked = 0);

/// How many buckets of an axis are in flight at once. A few keep the network busy. Large buckets go one at a
/// time: receiving the data to be summed takes as much memory as the bucket.
int64_t buckets_at_once(int64_t bucket);

class GradSync {
 public:
  /// Both axes are borrowed. Nothing else may use them between the first done() and finish(): ranks start
  /// their buckets in the same order, but not at the same points of the program.
  GradSync(Communicator& everywhere, Communicator& expert_data, int64_t bucket = 0, bool shares = false);

  /// The gradients of params[first] and later ones are complete on this rank. Starts and advances buckets
  /// without waiting. Pass the same `params` to every call.
  void done(Context& ctx, const std::vector<Param*>& params, size_t first);
  /// All gradients are complete. Returns when all of them, or those of this rank's shares, are sums.
  void finish(Context& ctx, const std::vector<Param*>& params);
  /// Views of this rank's shares within the gradients.
  std::vector<View> shares(const std::vector<Param*>& params) const;
  /// Copies every value from the rank whose share it belongs to.
  void gather_values(Context& ctx, const std::vector<Param*>& params);

 private:
  /// One axis and its buckets, ordered from the last to the first.
  struct Lane {
    Communicator& axis;
    int64_t bucket;  // bytes
    std::deque<View> due = {};
    std::deque<Pending> under_way = {};

    void add(char* begin, char* end, Dtype dtype);
    View mine(View whole) const { return share_of(whole, axis.size(), axis.rank()); }
    bool ended() const { return due.empty() && under_way.empty(); }
  };
  using Start = std::function<Pending(const Lane&, View bucket)>;

  void begin(const std::vector<Param*>& params);
  Pending start_sum(Context& ctx, const Lane& lane, View bucket) const;
  static void move_on(Lane& lane, const void* complete_from, const Start& start);
  void finish(const Start& start);
  std::array<Lane*, 2> lanes() { return {&everywhere_, &expert_data_}; }

  Lane everywhere_, expert_data_;
  bool shares_;
  bool begun_ = false;
};

}  // namespace natrix
