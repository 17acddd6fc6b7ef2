// RowExchange: sends rows from the rank that has a token (home) to the rank that owns its expert (owner), and
// sends results back. The MoE layer uses only this interface. LocalExchange moves nothing, because home owns
// all experts. Between ranks the exchange is an all-to-all (distributed/).
//
// An owner gets rows ordered by (expert, source rank, token), so results do not depend on how experts are
// sharded. Rows travel in one or two rounds ("goes"): first those of some of each owner's experts, then the
// rest. An owner computes on the first round while the second is in flight. All rows of an expert travel in
// the same round and keep their order, so its outputs and its gradient keep their bits.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/base/context.h"

namespace natrix {

struct RowPlan {
  std::vector<int64_t> send, receive;   // rows per peer
  std::vector<int64_t> expert_offsets;  // at the owner: rows [o[e], o[e + 1]) belong to its e-th expert
  std::vector<int64_t> pieces;  // rows at the owner per [peer][its expert]; empty if home owns all experts

  /// One round. At home it covers rows [home_first, home_first + Σ send), in the order of peers. At the owner
  /// it covers the rows of its experts [first_expert, last_expert).
  struct Go {
    std::vector<int64_t> send, receive;  // rows per peer
    int64_t home_first = 0, first_expert = 0, last_expert = 0;
  };
  std::vector<Go> goes;
  /// All experts in the order that their rows must have at home. Empty: in the order of their numbers.
  std::vector<int64_t> home_order;

  /// The rows of a round at the owner: [first, last).
  std::pair<int64_t, int64_t> owner_rows(const Go& go) const {
    return {expert_offsets[static_cast<size_t>(go.first_expert)],
            expert_offsets[static_cast<size_t>(go.last_expert)]};
  }
};

/// The rows of one round in flight.
class RowsUnderWay {
 public:
  virtual ~RowsUnderWay() = default;
  /// Advances the transfer, which makes no progress by itself.
  virtual void poll() = 0;
  /// Returns when all rows are in their place.
  virtual void arrive() = 0;
};

class RowExchange {
 public:
  virtual ~RowExchange() = default;
  /// This rank owns experts [first_expert, first_expert + owned_experts) of `num_experts`.
  virtual int64_t first_expert(int64_t num_experts) const = 0;
  virtual int64_t owned_experts(int64_t num_experts) const = 0;
  /// home_offsets: rows [o[e], o[e + 1]) at home chose expert e of all E experts.
  /// row_bytes: the size of one row.
  virtual RowPlan plan(Context& ctx, std::span<const int64_t> home_offsets, int64_t row_bytes) = 0;
  /// Memory in the arena for the rows that arrive at the owner, or at home. `rows` itself if nothing moves.
  virtual View room_at_owner(Context& ctx, const RowPlan& plan, View rows) = 0;
  virtual View room_at_home(Context& ctx, const RowPlan& plan, View rows) = 0;
  /// Starts sending one round from `home` to its place in `owner`, or back. Each direction is the adjoint of
  /// the other. All ranks must start rounds in the same order. The caller must not touch the views, nor leave
  /// the arena's frame, until arrive() has returned.
  virtual std::unique_ptr<RowsUnderWay> start_forward(Context& ctx, const RowPlan& plan, size_t go, View home,
                                                      View owner) = 0;
  virtual std::unique_ptr<RowsUnderWay> start_reverse(Context& ctx, const RowPlan& plan, size_t go,
                                                      View owner, View home) = 0;
};

/// Runs all rounds there and back. work(go, first, last, between) computes rows [first, last) of `owner_out`
/// from those of `owner_in`. It calls between() now and then to advance the transfers in flight.
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
