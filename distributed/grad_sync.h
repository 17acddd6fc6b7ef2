// GradSync: every gradient becomes its sum over the ranks that hold the parameter: all of them, or, for
// experts that are spread, those that own the same ones. A sum and no mean: the loss whose gradients these
// are was divided by the predictions of the whole step already.
//
// Gradients lie in the order of the stack in one buffer, and backward is done with them from the last to the
// first. They travel in buckets, each as soon as backward has left it. A few are under way at a time, which
// bounds the memory of their sums.
//
// With shares (ZeRO-1) a rank's sums are those of its share of each bucket, whose parameters it updates; then
// it hands the others what it made of them. As many bytes as whole sums would be, for an all-reduce is both.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <vector>

#include "core/layers/param.h"
#include "distributed/communicator.h"

namespace natrix {

/// Bytes of gradients that so many ranks sum at once; `asked` (parallel.bucket) if it is not 0. Each sums a
/// piece, in messages to and from all others: a piece is to outweigh what its messages cost, and the scratch
/// of a reduction, a bucket, to stay small.
int64_t gradient_bucket(int ranks, int64_t asked = 0);

/// How many buckets of an axis are under way at once; the others follow. A few, to keep links busy, but of
/// large ones one: what arrives of a bucket to be summed takes as much memory as the bucket.
int64_t buckets_at_once(int64_t bucket);

class GradSync {
 public:
  /// Both borrowed. Nobody else uses them between the first done() and finish(): ranks start their buckets in
  /// the same order, but not at the same places of the program.
  GradSync(Communicator& everywhere, Communicator& expert_data, int64_t bucket = 0, bool shares = false);

  /// The gradients of params[first] and those after it are complete on this rank. Starts and moves on, waits
  /// for nothing. `params` are those of every call.
  void done(Context& ctx, const std::vector<Param*>& params, size_t first);
  /// All are complete; returns when all are sums, or those in this rank's shares.
  void finish(Context& ctx, const std::vector<Param*>& params);
  /// This rank's shares, where the gradients lie.
  std::vector<View> shares(const std::vector<Param*>& params) const;
  /// Every value becomes that of the rank whose share it is in.
  void gather_values(Context& ctx, const std::vector<Param*>& params);

 private:
  /// One axis and its buckets, from the last to the first.
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
