// RowExchange: carries rows from the process where a token lives (home) to the process that owns its expert,
// and back. The MoE layer speaks to this port only; with all experts at home it does nothing (LocalExchange),
// between ranks it is an all-to-all (distributed/).
//
// Owners see rows ordered by (expert, source rank, token), so results do not depend on how experts are
// spread.
#pragma once

#include <span>
#include <vector>

#include "kernels/base/context.h"

namespace natrix {

struct RowPlan {
  std::vector<int64_t> send, receive;  // rows per peer
  std::vector<int64_t>
      expert_offsets;           // of the rows at the owner: rows [o[e], o[e + 1]) are its e-th expert's
  std::vector<int64_t> pieces;  // rows at the owner by [peer][its expert]; empty with all experts at home
};

class RowExchange {
 public:
  virtual ~RowExchange() = default;
  /// Experts [first, first + count) of `num_experts` are owned here.
  virtual int64_t first_expert(int64_t num_experts) const = 0;
  virtual int64_t owned_experts(int64_t num_experts) const = 0;
  /// home_offsets: rows [o[e], o[e + 1]) here at home chose expert e of all E.
  virtual RowPlan plan(Context& ctx, std::span<const int64_t> home_offsets) = 0;
  /// home → owner. The result may alias `rows`.
  virtual View forward(Context& ctx, const RowPlan& plan, View rows) = 0;
  /// owner → home; the adjoint of forward.
  virtual View reverse(Context& ctx, const RowPlan& plan, View rows) = 0;
};

class LocalExchange final : public RowExchange {
 public:
  int64_t first_expert(int64_t) const override { return 0; }
  int64_t owned_experts(int64_t num_experts) const override { return num_experts; }
  RowPlan plan(Context&, std::span<const int64_t> home_offsets) override {
    const int64_t rows = home_offsets.back();
    return {.send = {rows}, .receive = {rows}, .expert_offsets = {home_offsets.begin(), home_offsets.end()}};
  }
  View forward(Context&, const RowPlan&, View rows) override { return rows; }
  View reverse(Context&, const RowPlan&, View rows) override { return rows; }
};

}  // namespace natrix
