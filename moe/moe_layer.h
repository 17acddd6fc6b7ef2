// MoeLayer: a sparse mixture of expert MLPs, y = Σ_j weight_j · expert_j(x), plus shared experts
// that are always active.
//
// Tokens are sorted by expert and sent to the experts' owners through the RowExchange. Owners run grouped
// products and send the results back, which are summed with their weights. No token is dropped unless the
// model sets a capacity factor.
//
// Latent experts work on narrower rows: x is projected down before they are sent, and the weighted sum of the
// results up. The router and the shared experts read x itself.
#pragma once

#include <memory>

#include "core/ranks/row_exchange.h"
#include "moe/experts.h"
#include "moe/router.h"

namespace natrix {

class MoeLayer final : public Layer {
 public:
  /// `exchange` must outlive the layer.
  MoeLayer(const ModelConfig& config, int sublayer, const std::string& prefix, RowExchange& exchange);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit visit) const override { return visit == Visit::kFirst; }
  /// Routes and counts only: no expert runs and no row is sent.
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
    View latent;             // what the experts read
    View mixed;              // the weighted sum of their results, if it is projected up
    View rows, hidden, out;  // on the owner: experts' inputs and hidden units; at home: experts' outputs
  };
  /// Start of a pass over all tokens: chooses and counts experts, and sorts the kept rows by expert. offsets
  /// [E + 1] receives the first row of each expert.
  Saved route(Pass& pass, View x, std::span<int64_t> offsets) const;
  /// What the experts read: x, or its projection to the latent width.
  View to_experts(Pass& pass, View x) const { return down_ ? down_->forward(pass, x) : x; }
  /// Forward for few tokens where kernels run ahead of the host: the host does not learn the chosen experts.
  View forward_few(Pass& pass, View x) const;
  /// Puts rows at home into the order of the plan, which ranks agree on in host memory.
  static void stand_in_order(Context& ctx, Saved& s, std::span<const int64_t> offsets);
  /// Rows that an expert accepts from `tokens` tokens, or −1 without a limit.
  int64_t capacity(int64_t tokens) const;

  MoeConfig config_;
  RowExchange& exchange_;
  MoeRouter router_;
  Experts experts_;
  std::unique_ptr<Mlp> shared_;
  std::unique_ptr<Linear> down_, up_;  // to the latent width and back, if the model has one
};

}  // namespace natrix
