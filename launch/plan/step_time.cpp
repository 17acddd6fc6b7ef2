#include "launch/plan/step_time.h"

#include <algorithm>

#include "core/layers/lm_head.h"
#include "core/layers/mlp.h"
#include "launch/plan/links.h"
#include "launch/plan/rank_memory.h"

namespace natrix {
namespace {

double real(int64_t n) {
  return static_cast<double>(n);
}

/// Work of one rank in a step.
struct Work {
  double flops = 0, exps = 0, bytes = 0;
};

Work operator*(Work w, double n) {
  return {w.flops * n, w.exps * n, w.bytes * n};
}

class Machine {
 public:
  explicit Machine(const MachineConfig& m) : m_(m) {}

  /// The longest of what the work needs; the rest of it is done meanwhile.
  TimeTerm take(std::string name, const Work& w) const {
    const double flops = w.flops / *m_.flops(DeviceDtype::kFp32), exps = w.exps / m_.compute.exps;
    const double bytes = w.bytes / m_.memory.rate(), most = std::max({flops, exps, bytes});
    return {.name = std::move(name),
            .seconds = most,
            .bound = most == bytes   ? "memory"
                     : most == flops ? "flops"
                                     : "exponentials"};
  }
  double seconds(const Work& w) const { return take("", w).seconds; }

 private:
  const MachineConfig& m_;
};

/// Forward and backward of one run of a segment, on the rank that has most to do.
struct Passes {
  Work forward, backward;
};

/// Two operations an element of a weight and token, twice that backward, which also adds to the gradient.
Passes products(double tokens, double elements, double weights) {
  return {.forward = {.flops = 2 * tokens * elements, .bytes = weights},
          .backward = {.flops = 4 * tokens * elements, .bytes = 3 * weights}};
}

int64_t mlp_elements(int64_t D, int64_t F, MlpActivation a) {
  return (is_gated(a) ? 3 : 2) * D * F;
}

/// Elements of the weights that every token meets, without those of experts and the head.
double dense_elements(const ModelConfig& m, const Workload& w) {
  const int64_t D = m.d_model, I = m.d_inner(), N = m.mamba.d_state, R = m.dt_rank();
  const int64_t mamba = 3 * I * D + I * (R + 2 * N) + R * I;
  const int64_t moe =
      m.moe.num_experts * D + m.moe.shared_experts * mlp_elements(D, m.moe.d_ff, m.moe.activation);
  return real(w.mamba_layers * mamba + w.moe_layers * moe +
              w.mlp_layers * mlp_elements(D, m.mlp.d_ff, m.mlp.activation));
}

Passes dense(const Workload& w, double tokens) {
  const double elements = dense_elements(w.model, w);
  return products(tokens, elements, elements * kFloat);
}

Passes experts(const Workload& w, double tokens) {
  const MoeConfig& moe = w.model.moe;
  if (w.moe_layers == 0) return {};
  const int64_t ep = w.mesh.shape.ep, owned = (moe.num_experts + ep - 1) / ep;
  const double one = real(w.moe_layers * mlp_elements(w.model.d_model, moe.d_ff, moe.activation));
  const double rows = tokens * real(moe.top_k * ep * owned) / real(moe.num_experts);
  return products(rows, one, real(owned) * one * kFloat);
}

/// Exponentials of a state and token, and bytes of a channel and token: docs/performance.md for a GPU. On a
/// CPU operands of a tile stay in the cache, and backward exponentiates for its recomputation and for itself.
Passes scan(const Workload& w, double tokens, DeviceBackend backend) {
  const int64_t N = w.model.mamba.d_state;
  const double channels = tokens * real(w.mamba_layers * w.model.d_inner()), states = channels * real(N);
  const bool cuda = backend == DeviceBackend::kCuda;
  const double again = cuda ? 56.0 * real(N) / 32 : 0;  // tiles' states and partial sums, written and read
  return {.forward = {.exps = states, .bytes = 12 * channels},
          .backward = {.exps = (cuda ? 4 : 3) * states, .bytes = (44 + again) * channels}};
}

/// A state is carried on from rank to rank by one more pass over the segment, and as many maps as ranks.
Work summaries(const Workload& w, double tokens) {
  const double states = tokens * real(w.mamba_layers * w.model.d_inner() * w.model.mamba.d_state);
  return {.exps = states,
          .bytes = real(w.mamba_layers * 4 * w.mesh.shape.cp * w.state_bytes)};  // two read, one updated
}

/// Logits, the hidden state's gradient and the weight's; tile by tile.
Work head(const Workload& w, double tokens) {
  const int64_t V = *w.model.vocab_size, weights = V * w.model.d_model * kFloat;
  const int64_t tile = std::min(w.segment_tokens, LmHead::tile_rows(V));
  const double tiles = tokens / real(tile);
  return {.flops = 6 * tokens * real(V * w.model.d_model),
          .bytes = tiles * real(4 * weights) + 6 * tokens * real(V * kFloat)};
}

class StepTime {
 public:
  StepTime(const Workload& w, const std::vector<ModelShare>& shares, const MachineConfig& machine,
           std::vector<CommunicationTerm>& communication)
      : w_(w), shares_(shares), config_(machine), machine_(machine), communication_(communication) {
    forward_ = real(w.forward_runs());
    backward_ = real(w.backward_runs());
    tokens_ = real(w.forward_tokens) / real(w.ranks()) / forward_;
  }

  std::vector<TimeTerm> terms() {
    add_passes("products", dense(w_, tokens_));
    add_passes("products of experts", experts(w_, tokens_));
    add_passes("scan", scan(w_, tokens_, config_.device.backend));
    const double saved = real(saved_bytes(w_)) * tokens_ / real(w_.segment_tokens);
    // Every view is written and read once forward; backward reads it, and its gradient is written and read.
    add_passes("norms, gates, sums", {.forward = {.bytes = 2 * saved}, .backward = {.bytes = 3 * saved}});
    const bool scans = w_.mesh.shape.cp > 1 && w_.mesh.cp_link == CarryLinkKind::kScan;
    if (scans) add_summaries();
    add(machine_.take("head and loss", head(w_, tokens_) * backward_));
    // AdamW reads four arrays and writes three; gradients are zeroed, and their norm is taken.
    add(machine_.take("optimizer", {.bytes = 9 * real(shares_.front().weight_bytes)}));
    add_communication(scans);
    std::stable_sort(terms_.begin(), terms_.end(),
                     [](const TimeTerm& a, const TimeTerm& b) { return a.seconds > b.seconds; });
    return std::move(terms_);
  }

 private:
  void add(TimeTerm t) {
    if (t.seconds > 0) terms_.push_back(std::move(t));
  }

  void add_passes(const char* name, const Passes& p) {
    const TimeTerm forward = machine_.take(name, p.forward), backward = machine_.take(name, p.backward);
    forward_run_ += forward.seconds;
    backward_run_ += backward.seconds;
    const double f = forward_ * forward.seconds, b = backward_ * backward.seconds;
    add({.name = name, .seconds = f + b, .bound = f > b ? forward.bound : backward.bound});
  }

  /// Segments that are run again from a boundary are not summarised again.
  void add_summaries() {
    const SegmentRuns& r = w_.runs;
    const double segments =
        real(w_.micro_batches * (r.start_segments + r.boundary_segments + r.backward_segments));
    add(machine_.take("maps of segments", summaries(w_, tokens_) * segments));
  }

  void add_communication(bool scans) {
    to_hide_behind_ = backward_run_;
    for (CommunicationTerm& t : communication_) {
      Wait wait = exchange_time(config_, w_.mesh.shape, t);
      if (t.axis == MeshAxis::kEp && w_.moe_layers > 0) ep_seconds_ += wait.seconds;
      if (t.behind_backward) wait.seconds = exposed(wait.seconds);
      t.seconds = wait.seconds;
      const bool relayed = !scans && (t.axis == MeshAxis::kCp || t.axis == MeshAxis::kCpBackward);
      if (relayed) continue;
      add({.name = t.name, .seconds = t.seconds, .bound = wait.bound});
    }
    if (scans) return;
    for (CommunicationTerm& t : communication_) {
      if (t.axis != MeshAxis::kCp && t.axis != MeshAxis::kCpBackward) continue;
      t.seconds = t.axis == MeshAxis::kCp ? forward_wait() : backward_wait();
      add({.name = t.name, .seconds = t.seconds, .bound = "waiting"});
    }
  }

  /// Gradients travel while the last segment runs backward; of the time that takes, they have some left.
  double exposed(double seconds) {
    const double hidden = std::min(seconds, to_hide_behind_);
    to_hide_behind_ -= hidden;
    return seconds - hidden;
  }

  RelaySweep sweep(double run, double scan, MeshAxis axis) const {
    const int64_t cp = w_.mesh.shape.cp, ep = w_.mesh.shape.ep;
    RelaySweep s{.ranks = cp, .run = run};
    s.hop = scan / real(std::max<int64_t>(w_.mamba_layers, 1)) +
            message_time(config_, w_.mesh.shape, axis, w_.state_bytes);
    s.group = w_.moe_layers > 0 ? std::min(cp, ep) : 1;
    s.waits = w_.meetings;
    return s;
  }

  double exchange_of_a_run() const {  // two all-to-alls in each direction
    return ep_seconds_ / (forward_ + backward_);
  }

  /// The time by which sweeps of so many segments in all, each from an idle start, exceed the segments' own.
  static double excess(RelaySweep s, int64_t sweeps, int64_t segments) {
    if (sweeps == 0) return 0;
    s.segments = 1;
    const double first = s.seconds() - s.run;
    s.segments = 2;
    const double next = s.seconds() - 2 * s.run - first;
    return real(sweeps) * first + real(segments - sweeps) * next;
  }

  double forward_wait() const {
    const double scan_seconds = machine_.seconds(scan(w_, tokens_, config_.device.backend).forward);
    const RelaySweep s = sweep(forward_run_ + exchange_of_a_run(), scan_seconds, MeshAxis::kCp);
    const SegmentRuns& r = w_.runs;
    return real(w_.micro_batches) *
           (excess(s, r.from_start, r.start_segments) +
            // The first segment after a boundary waits for nobody.
            excess(s, std::min(r.from_boundary, r.boundary_segments - r.from_boundary),
                   r.boundary_segments - r.from_boundary));
  }

  double backward_wait() const {
    const double scan_seconds = machine_.seconds(scan(w_, tokens_, config_.device.backend).backward);
    // Between the backward runs of two segments lies the forward run of the second.
    const double run = forward_run_ + backward_run_ + 2 * exchange_of_a_run();
    const RelaySweep s = sweep(run, scan_seconds, MeshAxis::kCpBackward);
    return real(w_.micro_batches) * excess(s, 1, w_.runs.backward_segments);
  }

  const Workload& w_;
  const std::vector<ModelShare>& shares_;
  const MachineConfig& config_;
  const Machine machine_;
  std::vector<CommunicationTerm>& communication_;
  std::vector<TimeTerm> terms_;
  double forward_ = 0, backward_ = 0;          // runs of a segment
  double tokens_ = 0;                          // of a run
  double forward_run_ = 0, backward_run_ = 0;  // seconds of one, without communication
  double ep_seconds_ = 0;
  double to_hide_behind_ = 0;
};

}  // namespace

double RelaySweep::seconds() const {
  // Ranks that meet leave together, when the last of them has its state.
  const double together = static_cast<double>(waits * (group - 1)) * hop;
  const double period = std::max(run + together, static_cast<double>(ranks) * hop);  // until rank 0 goes on
  return static_cast<double>(segments - 1) * period + run + together +
         static_cast<double>(ranks - group) * hop;
}

std::vector<TimeTerm> estimate_time(const Workload& w, const std::vector<ModelShare>& shares,
                                    const MachineConfig& machine,
                                    std::vector<CommunicationTerm>& communication) {
  return StepTime(w, shares, machine, communication).terms();
}

}  // namespace natrix
