// AllToAllExchange: rows between the ranks of the ep axis, which hold all experts between them.
//
// Rank p owns experts [E · p / P, E · (p + 1) / P). At home rows stand by expert, so what goes to a rank lies
// together; at the owner they are put into the order (expert, source rank, token), which one process with all
// experts would see: outputs keep their bits, and so do the gradients of experts. With two goes they stand by
// go first: of each rank's experts the first half, rounded up, and then the others.
#pragma once

#include "core/row_exchange.h"
#include "distributed/communicator.h"

namespace natrix {

class AllToAllExchange final : public RowExchange {
 public:
  /// What goes to a rank in one of two goes is at least so long on average, or all goes at once: short
  /// messages cost as much as there are of them.
  static constexpr int64_t kLeastMessage = int64_t{64} << 10;

  /// `axis` is borrowed.
  explicit AllToAllExchange(Communicator& axis, int64_t least_message = kLeastMessage)
      : axis_(axis), least_message_(least_message) {}

  /// In how many goes rows travel that take so many bytes on all `ranks` together. A second one needs a rank
  /// with two experts.
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
  /// The experts of rank p, as [first, last) of all, that travel in a go.
  std::pair<int64_t, int64_t> experts_of(int64_t num_experts, int64_t rank, int64_t go, int64_t goes) const;

  Communicator& axis_;
  int64_t least_message_;
};

}  // namespace natrix
