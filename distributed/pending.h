// Pending: an operation between ranks that has been started and may not have ended yet.
//
//   Pending sum = axis.start_all_reduce(ctx, gradients, Reduce::kSum);
//   …                 // compute, and now and then sum.poll()
//   sum.wait();       // only now are the gradients those of all ranks
//
// What an operation reads and writes stays where it is, and is left alone, until the operation has ended.
// Nothing moves by itself, for there is no thread behind it: poll() moves one operation on, and a rank that
// waits, for whatever it is, moves on all that it has under way.
#pragma once

#include <memory>
#include <utility>

namespace natrix {

/// What a Pending holds; each kind of communicator has its own.
class Operation {
 public:
  /// Where it has not ended, an error unwinds: gives up what was to be received.
  virtual ~Operation() = default;
  /// Moves it on; true once it has ended, and ever after. RunError where the ranks are not in the same place.
  virtual bool poll() = 0;
  /// Returns when it has ended. RunError after Watch::timeout in which nothing moved.
  virtual void wait() = 0;
};

class [[nodiscard]] Pending {
 public:
  /// One that has ended.
  Pending() = default;
  explicit Pending(std::unique_ptr<Operation> operation) : operation_(std::move(operation)) {}

  /// Moves it on; true once it has ended.
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
