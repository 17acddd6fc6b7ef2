#include "launch/plan/workload.h"

#include <algorithm>
#include <limits>

#include "launch/assemble.h"
#include "launch/run_mesh.h"

namespace natrix {

ExperimentConfig on_mesh(const ExperimentConfig& config, const PlannedMesh& mesh) {
  ExperimentConfig c = config;
  c.parallel.dp = mesh.shape.dp;
  c.parallel.cp = mesh.shape.cp;
  c.parallel.ep = mesh.shape.ep;
  c.parallel.cp_link = mesh.cp_link;
  c.train.micro_batch_size = mesh.micro_batch;
  c.sequence.chunk = mesh.chunk;
  return c;
}

int64_t Workload::expert_runs(int64_t segment) const {
  const auto i = static_cast<size_t>(segment);
  const int64_t first = runs.surveyed[i], again = runs.forward[i] - 1 - first;
  return moe_layers * runs.forward[i] - std::min<int64_t>(last_moe_layers, 1) * first -
         last_moe_layers * again;
}

int64_t Workload::expert_runs() const {
  int64_t sum = 0;
  for (int64_t i = 0; i < segments; ++i) sum += expert_runs(i);
  return micro_batches * sum;
}

Workload workload_of(const ExperimentConfig& config, const MeshNeeds& needs, const PlannedMesh& mesh) {
  const SequenceConfig& s = config.sequence;
  const int64_t cp = mesh.shape.cp, stretch = cp * mesh.chunk;
  check_layout(on_mesh(config, mesh), needs, mesh.shape);
  Workload w{.model = config.model, .mesh = mesh, .bucket = config.parallel.bucket};
  w.shares = config.parallel.zero > 0 && w.ranks() > 1;
  if (config.device.dtype == DeviceDtype::kBf16) w.activation = 2;
  w.rows = config.train.batch_size / mesh.shape.dp;
  w.micro_batches = w.rows / mesh.micro_batch;
  w.segments = (s.length + stretch - 1) / stretch;
  w.carry_state = s.carry_state;
  const bool exact = s.gradient == GradientMode::kExact;
  w.together = needs.needs_tally && (w.micro_batches > 1 || !exact);
  w.segment_tokens = mesh.micro_batch * ((std::min(stretch, s.length) + cp - 1) / cp);
  w.last_tokens = mesh.micro_batch * ((s.length - (w.segments - 1) * stretch + cp - 1) / cp);

  const std::string stack = config.model.stack();
  w.mamba_layers = std::count(stack.begin(), stack.end(), 'M');
  w.moe_layers = std::count(stack.begin(), stack.end(), 'E');
  w.mlp_layers = std::count(stack.begin(), stack.end(), '-');
  bool scanned = false;
  for (char letter : stack) {
    if (letter == 'E' && scanned) ++w.meetings;
    w.last_moe_layers = letter == 'M' ? 0 : w.last_moe_layers + (letter == 'E' ? 1 : 0);
    scanned = letter == 'M' || (scanned && letter != 'E');
  }
  const MambaConfig& mamba = config.model.mamba;
  w.tail_bytes = mesh.micro_batch * (mamba.d_conv - 1) * config.model.d_inner() * kFloat;
  w.state_bytes = mesh.micro_batch * config.model.d_inner() * mamba.d_state * kFloat;

  w.carried_bytes = bytes_of(needs.carries, mesh.micro_batch);
  const int64_t memory = s.boundary_memory / (w.together ? w.micro_batches : 1);
  const int64_t slots = w.carried_bytes == 0 ? std::numeric_limits<int32_t>::max() : memory / w.carried_bytes;
  w.runs = count_segment_runs(w.segments, slots, s.gradient, w.together);
  w.tokens = config.train.batch_size * s.length;
  for (int64_t i = 0; i < w.segments; ++i) {
    const int64_t tokens = config.train.batch_size * std::min(stretch, s.length - i * stretch);
    w.forward_tokens += tokens * w.runs.forward[static_cast<size_t>(i)];
    w.expert_tokens += static_cast<double>(tokens) * static_cast<double>(w.expert_runs(i));
  }
  return w;
}

}  // namespace natrix
