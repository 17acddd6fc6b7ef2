// Pending: an operation between ranks that has been started and may not have ended yet.
//
//   Pending sum = axis.start_all_reduce(ctx, gradients, Reduce::kSum);
//   …                 // compute, and now and then sum.poll()
//   sum.wait();       // now the gradients are the sums over all ranks
//
// Memory that an operation reads or writes must stay valid and untouched until the operation has ended. No
// thread runs in the background: poll() advances one operation. A rank that waits, for whatever reason,
// advances all its operations in flight.
#pragma once

#include <memory>
#include <utility>

namespace natrix {

/// The operation behind a Pending. Each kind of communicator has its own.
class Operation {
 public:
  /// If the operation has not ended, an exception is unwinding: cancels what was to be received.
  virtual ~Operation() = default;
  /// Advances the operation. Returns true once it has ended. Throws RunError if the ranks are
  /// not at the same operation.
  virtual bool poll() = 0;
  /// Returns when the operation has ended. Throws RunError after Watch::timeout without progress.
  virtual void wait() = 0;
};

class [[nodiscard]] Pending {
 public:
  /// An operation that has ended.
  Pending() = default;
  explicit Pending(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}

  /// Advances the operation. Returns true once it has ended.
  bool poll() {
    if (operation_ && operation_->poll()) operation_.reset();
    return !operation_;
  }
  void wait() {
    if (operation_) operation_->wait();
    operation_.reset();
  }

 private:
  std::unique_ptr<Operation> operation_;
};

}  // namespace natrix
