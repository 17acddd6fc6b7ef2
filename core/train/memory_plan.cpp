#include "core/train/memory_plan.h"

#include <algorithm>

namespace natrix {
namespace {

constexpr int64_t kFloat = 4;

int64_t matrices(MlpActivation a) {
  return a == MlpActivation::kSwiglu || a == MlpActivation::kGeglu ? 3 : 2;
}

int64_t mamba_activations(const ModelConfig& c) {
  const int64_t i = c.d_inner(), n = c.mamba.d_state, r = c.dt_rank();
  return 2 * i + i + (r + 2 * n) * (c.mamba.inner_norms ? 2 : 1) + i + i + 2 * i +
         i * n / 32;  // uz, c, selection, Δ, y, gate and out; on a CPU states before tiles of 32 tokens
}

int64_t mlp_activations(MlpActivation a, int64_t d_ff) {
  return (matrices(a) - 1) * d_ff + d_ff;
}

}  // namespace

int64_t activation_bytes_per_token(const ModelConfig& c) {
  int64_t floats = 4 * c.d_model;
  for (char letter : c.stack()) {
    floats += 3 * c.d_model;  // residual stream, the norm's output, the sublayer's output
    if (letter == 'M') {
      floats += mamba_activations(c);
    } else if (letter == '-') {
      floats += mlp_activations(c.mlp.activation, c.mlp.d_ff);
    } else {
      floats += 2 * c.moe.num_experts + (c.moe.top_k + c.moe.shared_experts) *
                                            (2 * c.d_model + mlp_activations(c.moe.activation, c.moe.d_ff));
    }
  }
  return floats * kFloat;
}

int64_t automatic_micro_batch(const ModelConfig& model, int64_t batch_size, int64_t chunk) {
  constexpr int64_t kBudget = int64_t{1} << 30;
  const int64_t row = std::max<int64_t>(activation_bytes_per_token(model) * chunk, 1);
  int64_t best = 1;
  for (int64_t m = 1; m <= batch_size; ++m) {
    if (batch_size % m == 0 && m * row <= kBudget) best = m;
  }
  return best;
}

MemoryPlan plan_memory(const ExperimentConfig& c, Model& model) {
  const int64_t parameters = model.count_parameters().total * kFloat;
  const int64_t micro =
      c.train.micro_batch_size.value_or(automatic_micro_batch(c.model, c.train.batch_size, c.sequence.chunk));
  const int64_t segments = (c.sequence.length + c.sequence.chunk - 1) / c.sequence.chunk;
  const int64_t boundaries =
      std::min(c.sequence.boundary_memory,
               bytes_of(model.carries(), c.train.batch_size) * std::max<int64_t>(segments - 1, 0));
  const int64_t rounded =
      c.device.dtype == DeviceDtype::kBf16 ? parameters / 2 : 0;  // copies that products read
  return {.parameters = parameters + rounded,
          .gradients = parameters,
          .optimizer = 2 * parameters,
          .activations =
              activation_bytes_per_token(c.model) * micro * std::min(c.sequence.chunk, c.sequence.length),
          .boundaries = c.sequence.gradient == GradientMode::kExact ? boundaries : 0};
}

}  // namespace natrix
