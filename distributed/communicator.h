// Communicator: the ranks of one axis of the process mesh, and what they say to each other.
//
// A port: this file's LocalCommunicator is a world of one rank; worlds of many (MPI, threads of one process,
// NCCL) implement the same interface. Operations are collective and ordered: every rank of the axis calls the
// same ones in the same order. Reductions add in the order of ranks, whatever the order of arrival.
#pragma once

#include "core/row_exchange.h"
#include "kernels/base/context.h"

namespace natrix {

enum class Reduce { kSum, kMax };

/// What a rank has sent so far.
struct Traffic {
  int64_t messages = 0, bytes = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// inout = the reduction of every rank's inout.
  virtual void all_reduce(Context& ctx, View inout, Reduce op) = 0;
  /// in: size() equal parts of rows; out = the reduction of every rank's part rank().
  virtual void reduce_scatter(Context& ctx, View in, View out, Reduce op) = 0;
  /// out = the ranks' `in`, one after another.
  virtual void all_gather(Context& ctx, View in, View out) = 0;
  /// plan.send[p] rows of `in` go to rank p, in order of p; plan.receive[p] rows come from it, likewise.
  virtual void all_to_all(Context& ctx, View in, View out, const RowPlan& plan) = 0;
  /// Returns at once: v is copied. Messages between two ranks arrive in order.
  virtual void send(Context& ctx, View v, int peer) = 0;
  virtual void receive(Context& ctx, View v, int peer) = 0;
  virtual Traffic traffic() const { return {}; }
};

/// One rank: what it sends it has. send and receive have no peer and are a ContractError.
class LocalCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce(Context&, View, Reduce) override {}
  void reduce_scatter(Context&, View in, View out, Reduce) override { copy(in, out); }
  void all_gather(Context&, View in, View out) override { copy(in, out); }
  void all_to_all(Context&, View in, View out, const RowPlan&) override { copy(in, out); }
  void send(Context&, View, int) override { require(false, "a world of one rank has no peer to send to"); }
  void receive(Context&, View, int) override {
    require(false, "a world of one rank has no peer to receive from");
  }
};

}  // namespace natrix
