// AllToAllExchange: exchanges rows between the ranks of the ep axis. Together these ranks hold all experts.
//
// Rank p owns experts [E · p / P, E · (p + 1) / P). At home rows are sorted by expert, so the rows for one
// rank are contiguous. The owner puts them into the order (expert, source rank, token), which is the order of
// a single process with all experts. So outputs and the experts' gradients keep their bits. With two goes,
// rows are sorted by go first: the first go has the first half of each rank's experts, rounded up, and the
// second go has the others.
#pragma once

#include "core/ranks/row_exchange.h"
#include "distributed/communicator.h"

namespace natrix {

class AllToAllExchange final : public RowExchange {
 public:
  /// Average bytes per message from which rows travel in two goes. Below, all rows travel at once: the cost
  /// of short messages is proportional to their number.
  static constexpr int64_t kLeastMessage = int64_t{64} << 10;

  /// `axis` is borrowed.
  explicit AllToAllExchange(Communicator& axis, int64_t least_message = kLeastMessage)
      : axis_(axis), least_message_(least_message) {}

  /// The number of goes for rows that take `bytes` bytes on all `ranks` together. A second go needs
  /// a rank with two experts.
  static int64_t goes_of(int64_t num_experts, int64_t ranks, int64_t bytes,
                         int64_t least_message = kLeastMessage) {
    return num_experts > ranks && bytes / 2 / ranks / ranks >= least_message ? 2 : 1;
  }

  int64_t first_expert(int64_t num_experts) const override { return first_of(num_experts, axis_.rank()); }
  int64_t owned_experts(int64_t num_experts) const override {
    return first_of(num_experts, axis_.rank() + 1) - first_expert(num_experts);
  }
  RowPlan plan(Context& ctx, std::span<const int64_t> home_offsets, int64_t row_bytes) override;
  View room_at_owner(Context& ctx, const RowPlan& plan, View rows) override;
  View room_at_home(Context& ctx, const RowPlan& plan, View rows) override;
  std::unique_ptr<RowsUnderWay> start_forward(Context& ctx, const RowPlan& plan, size_t go, View home,
                                              View owner) override;
  std::unique_ptr<RowsUnderWay> start_reverse(Context& ctx, const RowPlan& plan, size_t go, View owner,
                                              View home) override;

 private:
  int64_t first_of(int64_t num_experts, int64_t rank) const { return num_experts * rank / axis_.size(); }
  /// The experts of a rank that travel in a go: [first, last) of all experts.
  std::pair<int64_t, int64_t> experts_of(int64_t num_experts, int64_t rank, int64_t go, int64_t goes) const;

  Communicator& axis_;
  int64_t least_message_;
};

}  // namespace natrix
