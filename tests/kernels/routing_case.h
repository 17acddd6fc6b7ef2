// What the tests of routing share: random logits, what route_forward makes of them, and a loss of it.
#pragma once

#include "kernels/routing.h"
#include "tests/kernels/operands.h"

namespace natrix::test {

struct RouteOptions {
  RouterScore score = RouterScore::kSoftmax;
  bool renormalize = false;
  bool bias = false;
  double scale = 2.5;

  std::string to_string() const;
  static std::vector<RouteOptions> all();
};

/// Logits [T, E] and the outputs of route_forward, poisoned before it runs.
struct Routed {
  Routed(Buffer logits, Buffer bias, int64_t top_k, RouteOptions options);
  Routed(Random& random, Dtype dtype, int64_t tokens, int64_t experts, int64_t top_k, RouteOptions options);

  RouteForward args() const;
  void run(Context& ctx) { route_forward(ctx, args()); }

  Routed inputs_as(Dtype dtype) const;  // outputs poisoned
  Routed all_as(Dtype dtype) const;     // outputs rounded too

  int64_t tokens() const { return logits.view().rows(); }
  int64_t experts() const { return logits.view().cols(); }
  int64_t top_k() const { return expert.view().cols(); }
  std::string to_string() const;  // "sigmoid bias, T 5 E 67 k 3"

  RouteOptions options;
  Buffer logits, bias, scores, expert, weight, logsumexp;
};

/// A loss Σ weight·dweight + Σ balance[e]·p_te + z_scale Σ logsumexp², and room for its gradient.
struct RouteLoss {
  RouteLoss(Random& random, const Routed& r, bool balanced, double z_scale);
  RouteLoss as(Dtype dtype) const;  // the same loss, its gradient poisoned

  RouteBackward args(const Routed& r) const;
  double value(const Routed& r) const;  // of f64 outputs

  Buffer dweight, balance, dlogits;
  bool balanced;
  double z_scale;

 private:
  RouteLoss(Buffer dweight, Buffer balance, bool balanced, double z_scale);
};

}  // namespace natrix::test
