// AllToAllExchange: rows travel to the rank that owns their expert, and back. The ranks of an ep group hold
// the experts between them, in order: rank r of P owns experts [r · E / P, (r + 1) · E / P).
//
// At home rows are ordered by (expert, token), so those for one owner lie together; they arrive by (source,
// expert, token) and are put into the order (expert, source, token) that grouped products need.
#pragma once

#include "core/row_exchange.h"
#include "distributed/communicator.h"

namespace natrix {

class AllToAllExchange final : public RowExchange {
 public:
  /// `axis` is borrowed.
  explicit AllToAllExchange(Communicator& axis) : axis_(axis) {}

  int64_t first_expert(int64_t num_experts) const override { return first_of(num_experts, axis_.rank()); }
  int64_t owned_experts(int64_t num_experts) const override {
    return first_of(num_experts, axis_.rank() + 1) - first_expert(num_experts);
  }
  RowPlan plan(Context& ctx, std::span<const int64_t> home_offsets) override;
  View forward(Context& ctx, const RowPlan& plan, View rows) override;
  View reverse(Context& ctx, const RowPlan& plan, View rows) override;

 private:
  int64_t first_of(int64_t num_experts, int64_t rank) const { return num_experts * rank / axis_.size(); }

  Communicator& axis_;
};

}  // namespace natrix
