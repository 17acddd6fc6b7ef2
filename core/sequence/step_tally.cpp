#include "core/sequence/step_tally.h"

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

}  // namespace natrix
