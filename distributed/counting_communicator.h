// CountingCommunicator: a mesh axis of any size in a dry run, in which only one rank exists. It sends nothing.
// It counts the messages that RankCommunicator would send, assuming that all ranks do the same as this one.
//
// Sums of host figures are those of ranks that all have the same figures.
#pragma once

#include <array>
#include <vector>

#include "distributed/communicator.h"
#include "distributed/rank_operation.h"

namespace natrix {

class CountingCommunicator final : public Communicator {
 public:
  enum class Kind { kSum, kGather, kExchange, kMessage };

  /// Operations of a kind that were started so far. all: the traffic of all ranks of the axis (sums and
  /// gathers); mine: the traffic of this rank (exchanges and messages).
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
  Pending start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) override;
  void send(Context& ctx, View v, int peer) override;
  void receive(Context& ctx, View v, int peer) override;
  int64_t scratch_bytes() const override { return scratch_.bytes(); }

  const Count& count(Kind kind) const { return counts_[static_cast<size_t>(kind)]; }
  const std::vector<Overlap>& overlaps() const { return overlaps_; }
  void reset();

 private:
  class Counted;
  Count& of(Kind kind) { return counts_[static_cast<size_t>(kind)]; }
  /// Counts `exchanges` rounds in which every rank sends to each other; `bytes` in all.
  void add_to_all(Kind kind, int64_t bytes, int64_t exchanges = 1);

  int rank_, size_;
  std::array<Count, 4> counts_;
  std::vector<Overlap> overlaps_;
  ScratchPool scratch_{Memory::kDry};
};

}  // namespace natrix
