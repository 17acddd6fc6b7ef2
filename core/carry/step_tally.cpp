#include "core/carry/step_tally.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace natrix {

void StepTally::begin_step(int64_t tokens) {
  tokens_ = tokens;
  layers_.clear();
  witnessed_.clear();
}

StepTally::Layer& StepTally::layer(int sublayer, int64_t num_experts) {
  Layer& l = layers_[sublayer];
  if (!l.counts) {
    l.counts = Buffer(Dtype::kF64, {num_experts});
    l.score_sum = Buffer(Dtype::kF64, {num_experts});
    l.squared_logsumexp = Buffer(Dtype::kF64, {1});
  }
  return l;
}

namespace {

/// Calls f(double&) for every f64 sum of a layer.
template <class F>
void each_figure(const StepTally::Layer& l, F&& f) {
  for (const Buffer* b : {&l.counts, &l.score_sum, &l.squared_logsumexp}) {
    double* x = b->view().as<double>();
    for (int64_t i = 0; i < b->view().count(); ++i) f(x[i]);
  }
}

}  // namespace

std::vector<double> StepTally::figures() const {
  std::vector<double> all;
  for (const auto& [sublayer, l] : layers_) {
    each_figure(l, [&](double& x) { all.push_back(x); });
    all.push_back(static_cast<double>(l.dropped));
  }
  return all;
}

void StepTally::set_figures(const std::vector<double>& figures) {
  auto next = figures.begin();
  for (auto& [sublayer, l] : layers_) {
    each_figure(l, [&](double& x) { x = *next++; });
    l.dropped = static_cast<int64_t>(*next++);
  }
}

void StepTally::witness(int64_t segment, int sublayer, View expert) {
  const uint64_t hash = XXH3_64bits(expert.data, static_cast<size_t>(expert.bytes()));
  const auto [it, first] = witnessed_.try_emplace({segment, sublayer}, hash);
  if (!first && it->second != hash) {
    throw RunError(
        fmt::format("sublayer {}: segment {} chose other experts when it was recomputed than at first; the "
                    "kernels of this backend "
                    "do not repeat bit for bit, so exact gradients cannot be had",
                    sublayer, segment));
  }
}

BalanceFigures balance_figures(const StepTally::Layer& layer, int64_t tokens) {
  BalanceFigures f;
  const int64_t experts = layer.counts.view().count();
  const double* n = layer.counts.view().as<double>();
  const double* p = layer.score_sum.view().as<double>();
  double slots = 0;
  for (int64_t e = 0; e < experts; ++e) slots += n[e];
  if (tokens == 0 || slots == 0) return f;
  for (int64_t e = 0; e < experts; ++e) {
    f.load.push_back(n[e] / slots);
    f.aux_loss += static_cast<double>(experts) * f.load.back() * p[e] / static_cast<double>(tokens);
  }
  f.z_loss = layer.squared_logsumexp.view().as<double>()[0] / static_cast<double>(tokens);
  return f;
}

}  // namespace natrix
