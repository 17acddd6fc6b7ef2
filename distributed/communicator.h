// Communicator: the ranks of one axis of the process mesh, and what they say to each other.
//
// A port: this file's LocalCommunicator is a world of one rank; worlds of many (MPI, threads of one process,
// NCCL) implement the same interface. Operations are collective and ordered: every rank of the axis starts
// the same ones in the same order, and each may end, and be waited for, in any. Reductions add in the order
// of ranks, whatever the order of arrival.
#pragma once

#include <span>

#include "distributed/pending.h"
#include "kernels/base/context.h"

namespace natrix {

enum class Reduce { kSum, kMax };

/// What of `whole` (contiguous) is a rank's when it is shared out: ceil(count / ranks) elements, of the last
/// ranks fewer or none.
View share_of(View whole, int ranks, int rank);

/// Rows per peer of an all-to-all; borrowed until it has been started.
struct RowCounts {
  std::span<const int64_t> send, receive;
};

/// What a rank has sent so far, and the time it took.
struct Traffic {
  int64_t messages = 0, bytes = 0;
  /// Seconds in which an operation was under way, as far as this rank has looked; and those of them in which
  /// it did nothing but wait. The rest was hidden behind what it computed.
  double under_way = 0, waiting = 0;

  Traffic& operator+=(const Traffic& t);
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// inout = the reduction of every rank's inout.
  void all_reduce(Context& ctx, View inout, Reduce op) { start_all_reduce(ctx, inout, op).wait(); }
  /// out = the reduction of every rank's share_of(in, size(), rank()); it may lie there itself.
  void reduce_scatter(Context& ctx, View in, View out, Reduce op) {
    start_reduce_scatter(ctx, in, out, op).wait();
  }
  /// out = the ranks' `in`, one after another, each of which is that rank's share_of(out, …); it may lie
  /// there itself.
  void all_gather(Context& ctx, View in, View out) { start_all_gather(ctx, in, out).wait(); }
  /// rows.send[p] rows of `in` go to rank p, in order of p; rows.receive[p] rows of `out` come from it.
  void all_to_all(Context& ctx, View in, View out, const RowCounts& rows) {
    start_all_to_all(ctx, in, out, rows).wait();
  }

  /// The same, started. The communicator and ctx outlive the Pending; views are left alone until it has
  /// ended.
  virtual Pending start_all_reduce(Context& ctx, View inout, Reduce op) = 0;
  virtual Pending start_reduce_scatter(Context& ctx, View in, View out, Reduce op) = 0;
  virtual Pending start_all_gather(Context& ctx, View in, View out) = 0;
  virtual Pending start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) = 0;

  /// Returns at once: v is copied. Messages between two ranks arrive in order.
  virtual void send(Context& ctx, View v, int peer) = 0;
  virtual void receive(Context& ctx, View v, int peer) = 0;
  virtual Traffic traffic() const { return {}; }
  /// Most bytes that what others sent to be summed has taken.
  virtual int64_t scratch_bytes() const { return 0; }
};

/// One rank: what it sends it has. send and receive have no peer and are a ContractError.
class LocalCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Pending start_all_reduce(Context& ctx, View inout, Reduce op) override;
  Pending start_reduce_scatter(Context& ctx, View in, View out, Reduce op) override;
  Pending start_all_gather(Context& ctx, View in, View out) override;
  Pending start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) override;
  void send(Context& ctx, View v, int peer) override;
  void receive(Context& ctx, View v, int peer) override;
};

}  // namespace natrix
