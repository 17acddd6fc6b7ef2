#include "launch/plan/model_share.h"

#include "core/layers/param_store.h"
#include "launch/assemble.h"

namespace natrix {
namespace {

/// Says which experts a rank owns; nothing ever runs.
class OwnersOnly final : public LocalExchange {
 public:
  OwnersOnly(int64_t rank, int64_t ranks) : rank_(rank), ranks_(ranks) {}
  int64_t first_expert(int64_t num_experts) const override { return num_experts * rank_ / ranks_; }
  int64_t owned_experts(int64_t num_experts) const override {
    return num_experts * (rank_ + 1) / ranks_ - first_expert(num_experts);
  }

 private:
  int64_t rank_, ranks_;
};

ModelShare share_of(const ModelConfig& config, int rank, int ep) {
  constexpr int64_t kFloat = 4;
  AssembledModel model = describe_model(config, std::make_unique<OwnersOnly>(rank, ep));
  const std::vector<Param*> params = model->params();
  const std::vector<int64_t> offsets = param_offsets(params, Dtype::kF32);
  ModelShare share{.weight_bytes = offsets.back() * kFloat};
  int64_t begin = 0;
  for (size_t i = 0; i < params.size(); ++i) {
    const Param& p = *params[i];
    if (p.rounds) share.rounded_bytes += p.shape.count() * 2;
    const int64_t bytes = p.shape.count() * kFloat, end = offsets[i] * kFloat + bytes;
    if (!p.trainable) continue;
    share.optimizer_bytes += 2 * bytes;
    const bool spread = p.spread_of > 0;
    if (share.gradients.empty() || share.gradients.back().spread != spread) {
      begin = offsets[i] * kFloat;
      share.gradients.push_back({.spread = spread});
    }
    share.gradients.back().bytes = end - begin;
  }
  return share;
}

}  // namespace

std::vector<ModelShare> model_shares(const ModelConfig& config, int ep) {
  std::vector<ModelShare> shares;
  const bool alike = describe_model(config)->experts() % ep == 0;
  for (int r = 0; r < (alike ? 1 : ep); ++r) shares.push_back(share_of(config, r, ep));
  return shares;
}

}  // namespace natrix
