// CountingCommunicator: an axis of any size in a dry run, of whose ranks one is there. Nothing is sent: what
// the ranks would send is counted, as RankCommunicator sends it, for all ranks are taken to do what this one
// does.
//
// Figures of the host become what they would be if all ranks had the same.
#pragma once

#include <array>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/rank_operation.h"

namespace natrix {

class CountingCommunicator final : public Communicator {
 public:
  enum class Kind { kSum, kGather, kExchange, kMessage };

  /// What was started so far of a kind. all: by all ranks of the axis together, of sums and gathers; mine: by
  /// this rank, of the others.
  struct Count {
    int64_t calls = 0;  // exchanges that a rank waits for, one after another
    Traffic all = {}, mine = {};
  };
  /// Rows that travel while this rank computes.
  struct Overlap {
    Traffic mine;
    Ledger meanwhile;
  };

  CountingCommunicator(int rank, int size) : rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Pending start_all_reduce(Context& ctx, View inout, Reduce op) override;
  Pending start_reduce_scatter(Context& ctx, View in, View out, Reduce op) override;
  Pending start_all_gather(Context& ctx, View in, View out) override;
  Pending start_all_to_all(Context& ctx, View in, View out, const RowPlan& plan) override;
  void send(Context& ctx, View v, int peer) override;
  void receive(Context& ctx, View v, int peer) override;
  int64_t scratch_bytes() const override { return scratch_.bytes(); }

  const Count& count(Kind kind) const { return counts_[static_cast<size_t>(kind)]; }
  const std::vector<Overlap>& overlaps() const { return overlaps_; }
  void reset();

 private:
  class Counted;
  Count& of(Kind kind) { return counts_[static_cast<size_t>(kind)]; }
  /// `exchanges` times, every rank sends something to each other; `bytes` in all.
  void add_to_all(Kind kind, int64_t bytes, int64_t exchanges = 1);

  int rank_, size_;
  std::array<Count, 4> counts_;
  std::vector<Overlap> overlaps_;
  ScratchPool scratch_{Memory::kDry};
};

}  // namespace natrix
