#include "tests/kernels/routing_case.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace natrix::test {

std::string RouteOptions::to_string() const {
  return std::string(score == RouterScore::kSoftmax ? "softmax" : "sigmoid") +
         (renormalize ? " renormalize" : "") + (bias ? " bias" : "");
}

std::vector<RouteOptions> RouteOptions::all() {
  std::vector<RouteOptions> all;
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    for (bool renormalize : {false, true}) {
      for (bool bias : {false, true}) all.push_back({score, renormalize, bias});
    }
  }
  return all;
}

Routed::Routed(Buffer logits_, Buffer bias_, int64_t top_k, RouteOptions options_)
    : options(options_), logits(std::move(logits_)), bias(std::move(bias_)) {
  const Dtype dtype = logits.view().dtype;
  scores = poisoned(dtype, {tokens(), experts()});
  expert = Buffer(Dtype::kI32, {tokens(), top_k});
  std::fill_n(expert.view().as<int32_t>(), expert.view().count(), -1);
  weight = poisoned(dtype, {tokens(), top_k});
  logsumexp = poisoned(dtype, {tokens()});
}

Routed::Routed(Random& random, Dtype dtype, int64_t tokens, int64_t experts, int64_t top_k,
               RouteOptions options)
    : Routed(random.normal(dtype, {tokens, experts}, 2.0), random.normal(dtype, {experts}, 0.3), top_k,
             options) {}

RouteForward Routed::args() const {
  return {.logits = logits.view(),
          .bias = options.bias ? bias.view() : View{},
          .score = options.score,
          .renormalize = options.renormalize,
          .scale = options.scale,
          .scores = scores.view(),
          .expert = expert.view(),
          .weight = weight.view(),
          .logsumexp = logsumexp.view()};
}

Routed Routed::inputs_as(Dtype dtype) const {
  return Routed(test::as(dtype, logits.view()), test::as(dtype, bias.view()), top_k(), options);
}

Routed Routed::all_as(Dtype dtype) const {
  Routed r = inputs_as(dtype);
  r.scores = test::as(dtype, scores.view());
  r.weight = test::as(dtype, weight.view());
  r.logsumexp = test::as(dtype, logsumexp.view());
  copy(expert.view(), r.expert.view());
  return r;
}

std::string Routed::to_string() const {
  return options.to_string() + ", T " + std::to_string(tokens()) + " E " + std::to_string(experts()) + " k " +
         std::to_string(top_k());
}

RouteLoss::RouteLoss(Buffer dweight_, Buffer balance_, bool balanced_, double z_scale_)
    : dweight(std::move(dweight_)), balance(std::move(balance_)), balanced(balanced_), z_scale(z_scale_) {
  dlogits = poisoned(dweight.view().dtype, {dweight.view().rows(), balance.view().count()});
}

RouteLoss::RouteLoss(Random& random, const Routed& r, bool balanced_, double z_scale_)
    : RouteLoss(random.normal(r.logits.view().dtype, r.weight.view().shape),
                random.normal(r.logits.view().dtype, {r.experts()}), balanced_, z_scale_) {}

RouteLoss RouteLoss::as(Dtype dtype) const {
  return RouteLoss(test::as(dtype, dweight.view()), test::as(dtype, balance.view()), balanced, z_scale);
}

RouteBackward RouteLoss::args(const Routed& r) const {
  return {.logits = r.logits.view(),
          .scores = r.scores.view(),
          .expert = r.expert.view(),
          .weight = r.weight.view(),
          .logsumexp = r.logsumexp.view(),
          .score = r.options.score,
          .renormalize = r.options.renormalize,
          .scale = r.options.scale,
          .dweight = dweight.view(),
          .balance = balanced ? balance.view() : View{},
          .z_scale = z_scale,
          .dlogits = dlogits.view()};
}

double RouteLoss::value(const Routed& r) const {
  double sum = dot(r.weight.view(), dweight.view()) + z_scale * dot(r.logsumexp.view(), r.logsumexp.view());
  for (int64_t t = 0; balanced && t < r.tokens(); ++t) {
    const double* score = r.scores.view().row<double>(t);
    const double all =
        r.options.score == RouterScore::kSigmoid ? std::accumulate(score, score + r.experts(), 0.0) : 1.0;
    sum += std::inner_product(score, score + r.experts(), balance.view().as<double>(), 0.0) / all;
  }
  return sum;
}

}  // namespace natrix::test
