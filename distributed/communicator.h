// Communicator: collectives and messages between the ranks of one axis of the process mesh.
//
// It is an interface. LocalCommunicator in this file is a world of one rank; implementations for many ranks
// use MPI, threads of one process, or NCCL. Operations are collective and ordered: every rank of the axis
// starts the same operations in the same order. They may end, and be waited for, in any order. Reductions add
// in the order of ranks, whatever the order of arrival.
#pragma once

#include <span>

#include "distributed/pending.h"
#include "kernels/base/context.h"

namespace natrix {

enum class Reduce { kSum, kMax };

/// A rank's share of `whole` (contiguous): ceil(count / ranks) elements; the last ranks may
/// have fewer or none.
View share_of(View whole, int ranks, int rank);

/// Rows per peer of an all-to-all. Borrowed until it has been started.
struct RowCounts {
  std::span<const int64_t> send, receive;
};

/// Messages and bytes that a rank has sent so far, and the time that communication took.
struct Traffic {
  int64_t messages = 0, bytes = 0;
  /// Seconds in which an operation was in flight, as observed by this rank, and the seconds of these in which
  /// the rank only waited. The rest was hidden behind computation.
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
  /// out = the reduction of every rank's share_of(in, size(), rank()). out may be that share of `in`.
  void reduce_scatter(Context& ctx, View in, View out, Reduce op) {
    start_reduce_scatter(ctx, in, out, op).wait();
  }
  /// out = the ranks' `in`, one after another. Each is that rank's share_of(out, …), and `in`
  /// may lie there already.
  void all_gather(Context& ctx, View in, View out) { start_all_gather(ctx, in, out).wait(); }
  /// rows.send[p] rows of `in` go to rank p, in order of p; rows.receive[p] rows of `out` come from it.
  void all_to_all(Context& ctx, View in, View out, const RowCounts& rows) {
    start_all_to_all(ctx, in, out, rows).wait();
  }

  /// The same operations, only started. The communicator and ctx must outlive the Pending. Do not touch the
  /// views until it has ended.
  virtual Pending start_all_reduce(Context& ctx, View inout, Reduce op) = 0;
  virtual Pending start_reduce_scatter(Context& ctx, View in, View out, Reduce op) = 0;
  virtual Pending start_all_gather(Context& ctx, View in, View out) = 0;
  virtual Pending start_all_to_all(Context& ctx, View in, View out, const RowCounts& rows) = 0;

  /// send copies v and returns at once. Messages between two ranks arrive in order.
  virtual void send(Context& ctx, View v, int peer) = 0;
  virtual void receive(Context& ctx, View v, int peer) = 0;
  virtual Traffic traffic() const { return {}; }
  /// High-water mark of the memory for received data that is to be summed, in bytes.
  virtual int64_t scratch_bytes() const { return 0; }
};

/// Single-rank communicator: every collective is a copy. send and receive have no peer and
/// throw ContractError.
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
