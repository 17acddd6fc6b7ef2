#include "launch/plan/step_time.h"

#include <algorithm>
#include <fmt/format.h>

#include "core/layers/lm_head.h"
#include "core/layers/mlp.h"
#include "launch/plan/links.h"
#include "launch/plan/rank_memory.h"

namespace natrix {
namespace {

double real(int64_t n) {
  return static_cast<double>(n);
}

/// Work of one rank in a step. flops: of products of activations; wide_flops:
/// of those in f32 whatever activations are.
struct Work {
  double flops = 0, wide_flops = 0, exps = 0, bytes = 0;
};

Work operator*(Work w, double n) {
  return {w.flops * n, w.wide_flops * n, w.exps * n, w.bytes * n};
}

Work operator+(Work a, const Work& b) {
  return {a.flops + b.flops, a.wide_flops + b.wide_flops, a.exps + b.exps, a.bytes + b.bytes};
}

double rate_of(const MachineConfig& m, DeviceDtype dtype, const char* name) {
  if (const auto rate = m.flops(dtype)) return *rate;
  throw InputError(
      fmt::format("--device: {} has no compute.{}, and the experiment computes in it", m.device.name, name));
}

class Machine {
 public:
  Machine(const MachineConfig& m, bool rounds)
      : m_(m),
        wide_rate_(rate_of(m, DeviceDtype::kFp32, "fp32")),
        rate_(rounds ? rate_of(m, DeviceDtype::kBf16, "bf16") : wide_rate_) {}

  /// The longest of what the work needs; the rest of it is done meanwhile.
  TimeTerm take(std::string name, const Work& w) const {
    const double flops = w.flops / rate_ + w.wide_flops / wide_rate_, exps = w.exps / m_.compute.exps;
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
  double wide_rate_, rate_;  // operations a second of products
};

/// Forward and backward of one run of a segment (of experts:
/// of one layer over it), on the rank that has most to do.
struct Passes {
  Work forward, backward;
};

/// Two operations an element of a weight and token, twice that backward, which also adds to the gradient:
/// that is in f32, the weight itself of `width` bytes an element.
/// `held` elements are read for what meets a token.
Passes products(double tokens, double elements, double held, int64_t width) {
  return {.forward = {.flops = 2 * tokens * elements, .bytes = held * real(width)},
          .backward = {.flops = 4 * tokens * elements, .bytes = held * real(width + 2 * kFloat)}};
}

int64_t mlp_elements(int64_t D, int64_t F, MlpActivation a) {
  return (is_gated(a) ? 3 : 2) * D * F;
}

/// Elements of the weights that every token meets, without those of routers, experts and the head.
double dense_elements(const ModelConfig& m, const Workload& w) {
  const int64_t D = m.d_model, I = m.d_inner(), N = m.mamba.d_state, R = m.dt_rank();
  const int64_t mamba = 3 * I * D + I * (R + 2 * N) + R * I;
  const int64_t moe = m.moe.shared_experts * mlp_elements(D, m.moe.d_ff, m.moe.activation);
  return real(w.mamba_layers * mamba + w.moe_layers * moe +
              w.mlp_layers * mlp_elements(D, m.mlp.d_ff, m.mlp.activation));
}

Work in_f32(Work w) {
  return {.wide_flops = w.flops, .exps = w.exps, .bytes = w.bytes};
}

Passes dense(const Workload& w, double tokens) {
  const double elements = dense_elements(w.model, w);
  const double routers = real(w.moe_layers * w.model.moe.num_experts * w.model.d_model);
  const Passes rounded = products(tokens, elements, elements, w.activation);
  const Passes wide = products(tokens, routers, routers, kFloat);
  return {.forward = rounded.forward + in_f32(wide.forward),
          .backward = rounded.backward + in_f32(wide.backward)};
}

Passes experts(const Workload& w, double tokens) {
  const MoeConfig& moe = w.model.moe;
  if (w.moe_layers == 0) return {};
  const int64_t ep = w.mesh.shape.ep, owned = (moe.num_experts + ep - 1) / ep;
  const double one = real(mlp_elements(w.model.d_model, moe.d_ff, moe.activation));
  const double rows = tokens * real(moe.top_k * ep * owned) / real(moe.num_experts);
  return products(rows, one, real(owned) * one, w.activation);
}

/// Exponentials of a state and token, and bytes of a channel and token: docs/performance.md for a GPU. On a
/// CPU operands of a tile stay in the cache, and backward takes 2.5 times as long as forward (bench_scan).
/// In bf16 two views forward and six backward take half of their four bytes.
Passes scan(const Workload& w, double tokens, DeviceBackend backend) {
  const int64_t N = w.model.mamba.d_state;
  const double channels = tokens * real(w.mamba_layers * w.model.d_inner()), states = channels * real(N);
  const bool cuda = backend == DeviceBackend::kCuda;
  const double again = cuda ? 56.0 * real(N) / 32 : 0;  // tiles' states and partial sums, written and read
  const double less = real(kFloat - w.activation);
  return {.forward = {.exps = states, .bytes = (12 - 2 * less) * channels},
          .backward = {.exps = (cuda ? 4 : 2.5) * states, .bytes = (44 + again - 6 * less) * channels}};
}

/// A state is carried on from rank to rank by one more pass over the segment, and as many maps as ranks.
Work summaries(const Workload& w, double tokens) {
  const double states = tokens * real(w.mamba_layers * w.model.d_inner() * w.model.mamba.d_state);
  return {.exps = states,
          .bytes = real(w.mamba_layers * 4 * w.mesh.shape.cp * w.state_bytes)};  // two read, one updated
}

/// Logits, the hidden state's gradient and the weight's; tile by tile. The weight is read twice, its gradient
/// read and written; logits are written and read twice, and so is their gradient.
Work head(const Workload& w, double tokens) {
  const int64_t V = *w.model.vocab_size, elements = V * w.model.d_model, widths = w.activation + kFloat;
  const int64_t tile = std::min(w.segment_tokens, LmHead::tile_rows(V));
  const double tiles = tokens / real(tile);
  return {.flops = 6 * tokens * real(elements),
          .bytes = tiles * real(2 * elements * widths) + 3 * tokens * real(V * widths)};
}

/// AdamW reads four arrays of what this rank updates and writes three, and the norm reads one. Copies in bf16
/// are written by it, or made of all weights where others update some.
Work optimizer(const Workload& w, const RankMemory& m) {
  const double updated = real(m.optimizer) / 2;  // there are two moments
  return {.bytes = 8 * updated + real((w.shares ? 3 : 1) * m.rounded)};
}

class StepTime {
 public:
  StepTime(const Workload& w, const RankMemory& memory, const MachineConfig& machine,
           std::vector<CommunicationTerm>& communication)
      : w_(w),
        memory_(memory),
        config_(machine),
        machine_(machine, w.rounds()),
        communication_(communication) {
    forward_ = real(w.forward_runs());
    backward_ = real(w.backward_runs());
    expert_forward_ = real(w.expert_runs());
    expert_backward_ = real(w.moe_layers) * backward_;
    tokens_ = real(w.forward_tokens) / real(w.ranks()) / forward_;
  }

  std::vector<TimeTerm> terms() {
    add_passes("products", dense(w_, tokens_), forward_, backward_);
    add_passes("products of experts", experts(w_, tokens_), expert_forward_, expert_backward_);
    add_passes("scan", scan(w_, tokens_, config_.device.backend), forward_, backward_);
    const double saved = real(saved_bytes(w_, config_.device.backend)) * tokens_ / real(w_.segment_tokens);
    // Every view is written and read once forward; backward reads it, and its gradient is written and read.
    add_passes("norms, gates, sums", {.forward = {.bytes = 2 * saved}, .backward = {.bytes = 3 * saved}},
               forward_, backward_);
    const bool scans = w_.mesh.shape.cp > 1 && w_.mesh.cp_link == CarryLinkKind::kScan;
    if (scans) add_summaries();
    add(machine_.take("head and loss", head(w_, tokens_) * backward_));
    add(machine_.take("optimizer", optimizer(w_, memory_)));
    add_communication(scans);
    std::stable_sort(terms_.begin(), terms_.end(),
                     [](const TimeTerm& a, const TimeTerm& b) { return a.seconds > b.seconds; });
    return std::move(terms_);
  }

 private:
  void add(TimeTerm t) {
    if (t.seconds > 0) terms_.push_back(std::move(t));
  }

  void add_passes(const char* name, const Passes& p, double forward_runs, double backward_runs) {
    const TimeTerm forward = machine_.take(name, p.forward), backward = machine_.take(name, p.backward);
    const double f = forward_runs * forward.seconds, b = backward_runs * backward.seconds;
    forward_run_ += f / forward_;
    backward_run_ += b / backward_;
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
      wait.seconds -= behind_experts(t, wait.seconds);
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

  /// Of `seconds` that rows travel, those in which experts compute. In halves the second travels there while
  /// the first is computed, and the first back while the second is: of the way there and of the way back a
  /// half each is hidden, if computing a half takes as long.
  double behind_experts(const CommunicationTerm& t, double seconds) const {
    if (t.halved_forward + t.halved_backward == 0) return 0;
    const Passes p = experts(w_, tokens_);
    const double one_way = seconds / (expert_forward_ + expert_backward_) / 2;
    return real(t.halved_forward) * std::min(one_way, machine_.seconds(p.forward)) +
           real(t.halved_backward) * std::min(one_way, machine_.seconds(p.backward));
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
  const RankMemory& memory_;
  const MachineConfig& config_;
  const Machine machine_;
  std::vector<CommunicationTerm>& communication_;
  std::vector<TimeTerm> terms_;
  double forward_ = 0, backward_ = 0;                // runs of a segment
  double expert_forward_ = 0, expert_backward_ = 0;  // and of MoE layers' experts on one
  double tokens_ = 0;                                // of a run
  double forward_run_ = 0, backward_run_ = 0;        // seconds of one on average, without communication
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

std::vector<TimeTerm> estimate_time(const Workload& w, const RankMemory& memory, const MachineConfig& machine,
                                    std::vector<CommunicationTerm>& communication) {
  return StepTime(w, memory, machine, communication).terms();
}

}  // namespace natrix
