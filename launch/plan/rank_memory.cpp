#include "launch/plan/rank_memory.h"

#include <algorithm>

#include "core/layers/lm_head.h"
#include "core/layers/mlp.h"
#include "distributed/grad_sync.h"
#include "kernels/scan.h"
#include "launch/plan/traffic.h"

namespace natrix {
namespace {

/// Views of one sublayer, in bytes: those that live until backward
/// has read them, and those of backward itself.
struct Views {
  int64_t saved = 0, scratch = 0;  // scratch: on top of saved while forward runs
  int64_t backward = 0;            // on top of saved
};

/// Of a device's scan backward (kernels/cuda/scan_backward.cu): of each tile of 32 tokens the state, and its
/// gradient, before it; and sums over 32 channels for dB and dC.
int64_t scan_scratch(const Workload& w) {
  const int64_t I = w.model.d_inner(), N = w.model.mamba.d_state, rows = w.mesh.micro_batch;
  const int64_t tiles = rows * ((w.segment_tokens / rows + 31) / 32);
  return (2 * tiles * I * (N + 1) + (I + 31) / 32 * w.segment_tokens * 2 * N) * kFloat;
}

/// uz, c, W_x c, Δ, y, gated and out, and on a CPU states before tiles; then duz, gated, dgated, dy, dc, dΔ,
/// dB, dC, dΔ rounded, dt's gradient, d(W_x c), dx. Δ, B, C and W_x c,
/// and gradients of the first three, stay wide.
Views mamba_views(const Workload& w, DeviceBackend backend) {
  const ModelConfig& m = w.model;
  const int64_t t = w.segment_tokens * w.activation, wide = w.segment_tokens * kFloat;
  const int64_t D = m.d_model, I = m.d_inner(), N = m.mamba.d_state, R = m.dt_rank();
  Views v;
  v.saved = t * (5 * I + D) + wide * (I + R + 2 * N) + w.tail_bytes + w.state_bytes;
  if (backend == DeviceBackend::kCpu) {
    const int64_t rows = w.mesh.micro_batch;
    v.saved += tile_states_shape(Backend::kCpu, {rows, w.segment_tokens / rows, I}, N).count() * kFloat;
  }
  if (m.mamba.inner_norms) v.saved += t * R + wide * (2 * N + 3);
  if (!m.mamba.inner_norms && w.rounds()) v.saved += t * R;
  const int64_t before_scan = t * 5 * I;
  const int64_t after_scan = before_scan + w.state_bytes + t * I + wide * (I + 2 * N);
  const int64_t before_conv = after_scan + t * (R + 2 * N) + wide * R + (w.rounds() ? t * I : 0);
  // The gradient of the tail, masked where documents start.
  const int64_t last = t * D + w.tail_bytes * (w.segments * w.mesh.shape.cp > 1 ? 2 : 1);
  v.backward = before_conv + last;
  if (w.mesh.shape.cp > 1 && w.mesh.cp_link == CarryLinkKind::kScan) {
    const int64_t map = 2 * w.state_bytes,
                  ranks = w.mesh.shape.cp;  // a segment as a map, and those of all ranks
    const int64_t states = (1 + ranks) * 3 * w.state_bytes, tails = (1 + ranks) * 2 * w.tail_bytes;
    const int64_t filter = I * (m.mamba.d_conv + (m.mamba.conv_bias ? 1 : 0)) * kFloat;
    v.saved += w.tail_bytes + map;
    v.scratch = states;
    v.backward =
        map + std::max(before_scan + states, before_conv + w.tail_bytes + filter + std::max(last, tails));
  }
  if (backend == DeviceBackend::kCuda) v.backward = std::max(v.backward, after_scan + scan_scratch(w));
  return v;
}

/// hidden, activated, out; then activated, its gradient, that of hidden, dx.
Views mlp_views(int64_t t, int64_t D, int64_t F, MlpActivation a) {
  const int64_t in = is_gated(a) ? 2 : 1;
  return {.saved = t * ((in + 1) * F + D), .backward = t * ((in + 2) * F + D)};
}

Views moe_views(const Workload& w) {
  const ModelConfig& m = w.model;
  const int64_t t = w.segment_tokens * w.activation, wide = w.segment_tokens * kFloat;
  const int64_t D = m.d_model, E = m.moe.num_experts, k = m.moe.top_k;
  // Logits, scores, logsumexp; expert, weight and both permutations (i64) of each slot. The router computes
  // in f32, from a copy of its input where that is bf16.
  const int64_t copied = w.rounds() ? D : 0;
  Views v{.saved = wide * (2 * E + 1 + k * (1 + 1 + 2 + 2) + copied)};
  // At their owner: where experts do not divide evenly, the ranks with one more receive more.
  const int64_t ep = w.mesh.shape.ep, owned = (E + ep - 1) / ep;
  const int64_t here = t * k, there = here * ep * owned / E;
  const int64_t F = m.moe.d_ff, in = is_gated(m.moe.activation) ? 2 : 1;
  v.saved += here * D + there * (in * F + D) + t * D;  // the slots' rows; hidden and out; the sum of outputs
  v.backward = here * D + wide * k + there * D;        // gradients of out, weights and rows
  v.scratch = there * F;                               // activated
  int64_t experts = there * (in + 2) * F;              // activated, its gradient, that of hidden
  if (ep > 1) {
    v.saved += (there + here) * D;  // rows at their owner; outputs back home
    v.backward += (there + here) * D;
    v.scratch += 2 * there * D;  // rows in the order of their ranks, as they come and go
    experts += 2 * there * D;
  }
  // And at last the gradients of x and the logits, and the router's of x.
  v.backward += std::max(experts, t * D + wide * (E + 2 * copied));
  if (m.moe.shared_experts > 0) {
    const Views shared = mlp_views(t, D, m.moe.shared_experts * m.moe.d_ff, m.moe.activation);
    v.saved += shared.saved;
    v.backward += shared.backward;
  }
  return v;
}

/// Of the sublayers of a kind.
struct Kind {
  int64_t layers;
  Views views;
};

std::vector<Kind> kinds_of(const Workload& w, DeviceBackend backend) {
  const MlpConfig& mlp = w.model.mlp;
  return {{w.mamba_layers, w.mamba_layers > 0 ? mamba_views(w, backend) : Views{}},
          {w.moe_layers, w.moe_layers > 0 ? moe_views(w) : Views{}},
          {w.mlp_layers, w.mlp_layers > 0 ? mlp_views(w.segment_tokens * w.activation, w.model.d_model,
                                                      mlp.d_ff, mlp.activation)
                                          : Views{}}};
}

/// Both moments of what a rank has of every bucket: of the ranks with that share of the experts, the first.
int64_t shared_optimizer(const Workload& w, const ModelShare& share, int64_t rank) {
  int64_t bytes = 0;
  for (const GradientStretch& s : share.gradients) {
    const int64_t ranks = axis_size(w.mesh.shape, s.spread ? MeshAxis::kExpertData : MeshAxis::kGradients);
    const int64_t bucket = gradient_bucket(static_cast<int>(ranks), w.bucket), mine = s.spread ? 0 : rank;
    bytes += 2 * (s.bytes / bucket * share_bytes(bucket, ranks, mine) +
                  share_bytes(s.bytes % bucket, ranks, mine));
  }
  return bytes;
}

int64_t arena_peak(const Workload& w, DeviceBackend backend) {
  const int64_t t = w.segment_tokens, stream = t * w.model.d_model * kFloat;
  const int64_t hidden = t * w.model.d_model * w.activation;
  Views most;
  for (const Kind& kind : kinds_of(w, backend)) {
    most.scratch = std::max(most.scratch, kind.views.scratch);
    most.backward = std::max(most.backward, kind.views.backward);
  }
  const int64_t tile = std::min(t, LmHead::tile_rows(*w.model.vocab_size));
  const int64_t logits = tile * *w.model.vocab_size * (kFloat + (w.rounds() ? w.activation : 0)) + t * 8;
  // The gradients of the hidden state and of the residual stream are alive while sublayers run backward, the
  // latter rounded for each of them.
  const int64_t gradients = hidden + stream + (w.rounds() ? hidden : 0);
  return saved_bytes(w, backend) + std::max({most.scratch, hidden + logits, gradients + most.backward});
}

}  // namespace

int64_t saved_bytes(const Workload& w, DeviceBackend backend) {
  const int64_t t = w.segment_tokens, D = w.model.d_model;
  int64_t bytes = t * (8 + 8 + 1);  // tokens, targets, document starts
  // The residual stream, what the next sublayer reads of it, and what its norm keeps.
  const int64_t between = t * (D * (kFloat + w.activation) + kFloat);
  bytes += between;  // the first is the embedding
  for (const Kind& kind : kinds_of(w, backend)) {
    bytes += kind.layers * (kind.views.saved + between);
  }
  return bytes;
}

RankMemory count_memory(const Workload& w, const std::vector<ModelShare>& shares,
                        const std::vector<CommunicationTerm>& terms, DeviceBackend backend) {
  RankMemory m;
  for (const ModelShare& share : shares) {
    m.weights = std::max(m.weights, share.weight_bytes);
    if (w.rounds()) m.rounded = std::max(m.rounded, share.rounded_bytes);
    m.optimizer = std::max(
        m.optimizer, w.shares ? shared_optimizer(w, share, &share - shares.data()) : share.optimizer_bytes);
  }
  m.gradients = m.weights;
  m.activations = arena_peak(w, backend);
  const int64_t states = w.carried_bytes;
  m.boundaries = w.runs.most_boundaries * states * (w.together ? w.micro_batches : 1);
  // Entered with and left, in either direction of time; of a scan those at the start and end of a stretch of
  // ranks too. And those before and after the step that each micro-batch carries on.
  const bool scans = w.mesh.shape.cp > 1 && w.mesh.cp_link == CarryLinkKind::kScan;
  m.carried = states * (2 * (scans ? 3 : 2) + (w.carry_state ? 2 * w.micro_batches : 0));
  for (const CommunicationTerm& term : terms) m.sums += term.scratch;
  return m;
}

}  // namespace natrix
