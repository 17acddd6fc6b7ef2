// MoeLayer: a sparse mixture of expert MLPs, y = Σ_j weight_j · expert_j(x), plus always-active shared
// experts.
//
// Tokens are sorted by expert, sent to their owners through the RowExchange, run as grouped products, sent
// back and summed with their weights. Dropless unless the model sets a capacity factor.
#pragma once

#include <memory>

#include "core/row_exchange.h"
#include "moe/experts.h"
#include "moe/router.h"

namespace natrix {

class MoeLayer final : public Layer {
 public:
  /// `exchange` outlives the layer.
  MoeLayer(const ModelConfig& config, int sublayer, const std::string& prefix, RowExchange& exchange);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit visit) const override { return visit == Visit::kFirst; }
  /// Chooses and counts. No expert runs, and no row goes to its owner.
  void pass_over(Pass& pass, View x) const override;
  bool runs_ahead(int64_t tokens) const override;
  View backward(Pass& pass, View dy) override;
  void visit(const ParamVisitor& visitor) override;
  int64_t active_parameters() override;
  int64_t experts() const override { return config_.num_experts; }
  bool needs_tally() const override { return config_.aux_loss_coef != 0; }
  void after_step(const StepTally& tally) override { router_.update_bias(tally); }

 private:
  struct Saved {
    View x;
    MoeRouter::Choice choice;
    View row_of_slot, slot_of_row;
    RowPlan plan;
    View rows, hidden, out;  // at the owner: experts' inputs and hidden units; at home: experts' outputs
  };
  /// The beginning of a pass over all tokens: which experts they go to, counted, and the rows that are kept
  /// in the order of their experts, whose first rows go to offsets [E + 1].
  Saved route(Pass& pass, View x, std::span<int64_t> offsets) const;
  /// Of few tokens, where the kernels run ahead of the host: it does not learn which experts they chose.
  View forward_few(Pass& pass, View x) const;
  /// Puts rows at home into the order of the plan. Ranks speak of what lies with the host.
  static void stand_in_order(Context& ctx, Saved& s, std::span<const int64_t> offsets);
  /// Rows an expert takes of `tokens` tokens, or −1 without a limit.
  int64_t capacity(int64_t tokens) const;

  MoeConfig config_;
  RowExchange& exchange_;
  MoeRouter router_;
  Experts experts_;
  std::unique_ptr<Mlp> shared_;
};

}  // namespace natrix
