// RowExchange: carries rows from the process where a token lives (home) to the process that owns its expert,
// and back. The MoE layer speaks to this port only; with all experts at home it does nothing (LocalExchange),
// between ranks it is an all-to-all (distributed/).
//
// Owners see rows ordered by (expert, source rank, token), so results do not depend on how experts are
// spread. Rows travel in one or two goes: some of each owner's experts first, then the others, so that owners
// compute on the first while the second is under way. An expert's rows are all of one go and in the same
// order as ever: its outputs and its gradient keep their bits.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/base/context.h"

namespace natrix {

struct RowPlan {
  std::vector<int64_t> send, receive;  // rows per peer
  std::vector<int64_t>
      expert_offsets;           // of the rows at the owner: rows [o[e], o[e + 1]) are its e-th expert's
  std::vector<int64_t> pieces;  // rows at the owner by [peer][its expert]; empty with all experts at home

  /// Rows [home_first, home_first + Σ send) at home, in the order of peers, are those of the owners' experts
  /// of this go; here at the owner they are experts [first_expert, last_expert).
  struct Go {
    std::vector<int64_t> send, receive;  // rows per peer
    int64_t home_first = 0, first_expert = 0, last_expert = 0;
  };
  std::vector<Go> goes;
  /// Experts, of all, in the order in which their rows must stand at home; empty: as they are numbered.
  std::vector<int64_t> home_order;

  /// The rows of a go at their owner: [first, last).
  std::pair<int64_t, int64_t> owner_rows(const Go& go) const {
    return {expert_offsets[static_cast<size_t>(go.first_expert)],
            expert_offsets[static_cast<size_t>(go.last_expert)]};
  }
};

/// The rows of a go on their way.
class RowsUnderWay {
 public:
  virtual ~RowsUnderWay() = default;
  /// Moves them on: they do not move by themselves.
  virtual void poll() = 0;
  /// Returns when they have arrived and stand in their place.
  virtual void arrive() = 0;
};

class RowExchange {
 public:
  virtual ~RowExchange() = default;
  /// Experts [first, first + count) of `num_experts` are owned here.
  virtual int64_t first_expert(int64_t num_experts) const = 0;
  virtual int64_t owned_experts(int64_t num_experts) const = 0;
  /// home_offsets: rows [o[e], o[e + 1]) here at home chose expert e of all E.
  /// row_bytes: of one row that travels.
  virtual RowPlan plan(Context& ctx, std::span<const int64_t> home_offsets, int64_t row_bytes) = 0;
  /// Room for what arrives from home, or at home, in the arena; `rows` themselves where nothing has to move.
  virtual View room_at_owner(Context& ctx, const RowPlan& plan, View rows) = 0;
  virtual View room_at_home(Context& ctx, const RowPlan& plan, View rows) = 0;
  /// One go of `home` to its place in `owner`, or back: each is the other's adjoint. Goes are started in
  /// their order on all ranks. Views, and the arena's frame, are left alone until they have arrived.
  virtual std::unique_ptr<RowsUnderWay> start_forward(Context& ctx, const RowPlan& plan, size_t go, View home,
                                                      View owner) = 0;
  virtual std::unique_ptr<RowsUnderWay> start_reverse(Context& ctx, const RowPlan& plan, size_t go,
                                                      View owner, View home) = 0;
};

/// All goes there and back: work(go, first, last, between) computes rows [first, last) of `owner_out` from
/// those of `owner_in`, and calls between() now and then, which moves on what is under way.
struct RowTravel {
  View home_in, owner_in, owner_out, home_out;
};
using GoWork = std::function<void(const RowPlan::Go& go, int64_t first, int64_t last,
                                  const std::function<void()>& between)>;
void there_and_back(Context& ctx, RowExchange& exchange, const RowPlan& plan, const RowTravel& rows,
                    const GoWork& work);

class LocalExchange : public RowExchange {
 public:
  int64_t first_expert(int64_t) const override { return 0; }
  int64_t owned_experts(int64_t num_experts) const override { return num_experts; }
  RowPlan plan(Context& ctx, std::span<const int64_t> home_offsets, int64_t row_bytes) override;
  View room_at_owner(Context&, const RowPlan&, View rows) override { return rows; }
  View room_at_home(Context&, const RowPlan&, View rows) override { return rows; }
  std::unique_ptr<RowsUnderWay> start_forward(Context&, const RowPlan&, size_t, View, View) override;
  std::unique_ptr<RowsUnderWay> start_reverse(Context&, const RowPlan&, size_t, View, View) override;
};

}  // namespace natrix
