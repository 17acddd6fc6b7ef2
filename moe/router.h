// Router: chooses the experts of a token and their weights, and computes the gradient,
// including auxiliary losses.
//
//   logits = x W_rᵀ            scores = softmax(logits) or σ(logits)
//   chosen = top_k(scores + bias)        weight = routed_scaling · score of the chosen [/ their sum]
//
// With groups, only experts of the best groups can be chosen (kernels/routing.h).
//
// Losses over all T tokens of the step. E experts; n_e slots chose expert e and are not differentiated:
//
//   load balancing   aux_loss_coef · E · Σ_e f_e P_e                       (arXiv 2101.03961)
//                    with f_e = n_e / (T k), P_e = mean of p_te
//   z-loss           z_loss_coef · mean(logsumexp(logits)²)                (arXiv 2202.08906)
//   bias balancing   b_e += rate · sign(mean n − n_e) after a step,        (arXiv 2408.15664)
//                    for the choice only
#pragma once

#include "configs/schema/model.h"
#include "core/layers/linear.h"

namespace natrix {

class MoeRouter {
 public:
  MoeRouter(const ModelConfig& config, int sublayer, const std::string& prefix);

  struct Choice {  // for T tokens
    View logits, scores, expert, weight, logsumexp;
  };
  Choice forward(Pass& pass, View x) const;
  /// On the first pass over a segment, adds the choice to the step's tally. On a later pass, checks that the
  /// choice is the same. chosen: choice.expert in host memory.
  void count(Pass& pass, const Choice& choice, View chosen) const;
  /// Adds to dx and to the gradient of W_r, given the gradient of the weights [T, k] and the completed tally.
  void backward(Pass& pass, View x, const Choice& choice, View dweight, View dx);
  void visit(const ParamVisitor& visitor);

  /// Call after an optimizer step, with the step's tally. Does nothing unless the model balances by bias.
  void update_bias(const StepTally& tally);
  int sublayer() const { return sublayer_; }

 private:
  View balance(Pass& pass) const;  // ∂(load-balancing loss)/∂p_te: one value per expert
  bool has_bias() const { return config_.selection_bias || config_.bias_update_rate > 0; }

  MoeConfig config_;
  int sublayer_;
  Linear gate_;
  Param bias_;
};

}  // namespace natrix
