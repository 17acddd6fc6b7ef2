#include "launch/plan/traffic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>

#include "distributed/all_to_all_exchange.h"
#include "distributed/grad_sync.h"
#include "distributed/rank_communicator.h"

namespace natrix {
namespace {

constexpr int64_t kDouble = 8;
// Of distributed/send_states.cpp.
constexpr int64_t kStatesHeader = 8, kStateHeader = 8 * (4 + Shape::kMaxRank);

// Where counts stop: nobody pays for exabytes a step, and nothing may overflow.
constexpr int64_t kMost = int64_t{1} << 61;

/// to += the product, up to kMost.
void add(int64_t& to, std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (int64_t f : factors) {
    if (__builtin_mul_overflow(product, f, &product)) product = kMost;
    product = std::min(product, kMost);
  }
  to = std::min(to + product, kMost);
}

class Counter {
 public:
  explicit Counter(const Workload& w) : w_(w) {}

  /// Groups of ranks along an axis.
  int64_t groups(MeshAxis axis) const { return w_.ranks() / axis_size(w_.mesh.shape, axis); }

  /// `times` over, each of `groups` groups sums `bytes` up. One of small figures is one exchange of
  /// everything, a larger one two of pieces: each rank sums one piece, and hands it to all.
  void all_reduce(CommunicationTerm& t, int64_t bytes, int64_t groups, int64_t times = 1) const {
    const int64_t p = axis_size(w_.mesh.shape, t.axis);
    if (p == 1 || bytes == 0 || times == 0) return;
    const bool small = bytes <= RankCommunicator::kSmall;
    add(t.bytes, {times, groups, small ? p : 2, p - 1, bytes});
    add(t.messages, {times, groups, small ? 1 : 2, p, p - 1});
    t.calls += times * (small ? 1 : 2);
    const int64_t piece = (bytes / kDouble + p) / p * kDouble;  // of whole elements, floats or doubles
    t.scratch = std::max(t.scratch, p * (small ? bytes : piece));
  }

  /// Likewise, of each group one half of such a sum: every rank's share of the bytes, from all or to all.
  void share(CommunicationTerm& t, int64_t bytes, int64_t groups, int64_t times, bool sums) const {
    const int64_t p = axis_size(w_.mesh.shape, t.axis);
    if (p == 1 || bytes == 0 || times == 0) return;
    add(t.bytes, {times, groups, p - 1, bytes});
    add(t.messages, {times, groups, p, p - 1});
    t.calls += times;
    if (sums) t.scratch = std::max(t.scratch, p * share_bytes(bytes, p));
  }

  /// `times` over, every rank sends something to each other of its group; `bytes` in all, over all ranks.
  void exchange(CommunicationTerm& t, int64_t bytes, int64_t times) const {
    add(t.bytes, {bytes});
    add(t.messages, {times, w_.ranks(), axis_size(w_.mesh.shape, t.axis) - 1});
    t.calls += times;
  }

 private:
  const Workload& w_;
};

/// A kind of sum, over all ranks or over the owners of the same experts: of the gradients, and then, where
/// ranks share updates, of the updated weights.
struct GradientTerms {
  CommunicationTerm sums, values;
  int64_t buckets = 0;

  void count(const Workload& w, const Counter& count, const GradientStretch& stretch, int64_t groups) {
    const int64_t bucket = gradient_bucket(static_cast<int>(axis_size(w.mesh.shape, sums.axis)), w.bucket);
    const int64_t whole = stretch.bytes / bucket, rest = stretch.bytes % bucket;
    for (const auto& [bytes, times] : {std::pair(bucket, whole), std::pair(rest, int64_t{1})}) {
      if (!w.shares) {
        count.all_reduce(sums, bytes, groups, times);
        continue;
      }
      count.share(sums, bytes, groups, times, true);
      count.share(values, bytes, groups, times, false);
    }
    buckets += whole + (rest > 0 ? 1 : 0);
  }
};

void count_figures(std::vector<CommunicationTerm>& terms, const Workload& w, const Counter& count) {
  CommunicationTerm sums{.name = "figures of the step", .axis = MeshAxis::kWorld};
  count.all_reduce(sums, 2 * kDouble, 1);  // predictions, tokens
  count.all_reduce(sums, w.moe_layers * (2 * w.model.moe.num_experts + 2) * kDouble, 1);  // the tally
  count.all_reduce(sums, kDouble, 1, 2);  // the loss, and whether to stop
  terms.push_back(sums);
  CommunicationTerm norm{.name = "gradient norm", .axis = w.shares ? MeshAxis::kWorld : MeshAxis::kEp};
  count.all_reduce(norm, kDouble, count.groups(norm.axis));
  terms.push_back(norm);
}

void count_gradients(std::vector<CommunicationTerm>& terms, const Workload& w,
                     const std::vector<ModelShare>& shares, const Counter& count) {
  const auto of_axis = [](const std::string& what, MeshAxis axis) {
    return GradientTerms{.sums = {.name = "gradients" + what, .axis = axis, .behind_backward = true},
                         .values = {.name = "updated weights" + what, .axis = axis}};
  };
  GradientTerms all = of_axis("", MeshAxis::kGradients),
                experts = of_axis(" of experts", MeshAxis::kExpertData);
  const auto alike = static_cast<int64_t>(w.mesh.shape.ep / static_cast<int>(shares.size()));
  int64_t sum_calls = 0, value_calls = 0, buckets = 0;  // of the rank with most experts
  for (const ModelShare& share : shares) {
    experts.sums.calls = experts.values.calls = experts.buckets = 0;
    for (const GradientStretch& stretch : share.gradients) {
      if (stretch.spread) experts.count(w, count, stretch, alike);
      if (!stretch.spread && &share == &shares.front()) all.count(w, count, stretch, 1);  // all hold the same
    }
    sum_calls = std::max(sum_calls, experts.sums.calls);
    value_calls = std::max(value_calls, experts.values.calls);
    buckets = std::max(buckets, experts.buckets);
  }
  experts.sums.calls = sum_calls;
  experts.values.calls = value_calls;
  experts.buckets = buckets;
  for (GradientTerms* t : {&all, &experts}) {
    // The largest of its sums is what a term has as scratch so far.
    const int64_t bucket = gradient_bucket(static_cast<int>(axis_size(w.mesh.shape, t->sums.axis)), w.bucket);
    t->sums.scratch *= std::min(t->buckets, buckets_at_once(bucket));
    terms.push_back(t->sums);
    terms.push_back(t->values);
  }
}

void count_experts(std::vector<CommunicationTerm>& terms, const Workload& w, const Counter& count) {
  const int64_t ep = w.mesh.shape.ep;
  if (ep == 1 || w.moe_layers == 0) return;
  const MoeConfig& moe = w.model.moe;
  CommunicationTerm counts{.name = "rows per expert", .axis = MeshAxis::kEp};
  const int64_t forward = w.expert_runs();
  count.exchange(counts, forward * w.ranks() * (ep - 1) * moe.num_experts * kDouble, forward);
  terms.push_back(counts);
  // Experts chosen evenly take ep − 1 of ep rows to another rank, there and back.
  const double kept = std::min(1.0, moe.capacity_factor.value_or(1.0));
  const auto bytes_of = [&](double tokens) {  // of all layers
    const auto rows = static_cast<double>(moe.top_k) * tokens * kept;
    int64_t bytes = 0;
    add(bytes, {std::llround(2 * rows * static_cast<double>(ep - 1) / static_cast<double>(ep)),
                w.model.d_model, w.activation});
    return bytes;
  };
  CommunicationTerm rows{.name = "tokens to experts", .axis = MeshAxis::kEp};
  int64_t there_and_back = 0, gradients = 0;  // exchanges of a rank
  for (int64_t i = 0; i < w.segments; ++i) {
    const auto tokens = static_cast<double>(i + 1 == w.segments ? w.last_tokens : w.segment_tokens);
    const auto bytes =
        std::llround(static_cast<double>(ep * moe.top_k * w.model.d_model * w.activation) * tokens * kept);
    const int64_t goes = AllToAllExchange::goes_of(moe.num_experts, ep, bytes);
    const int64_t runs = w.micro_batches * w.expert_runs(i);
    there_and_back += 2 * goes * runs;
    gradients += 2 * goes * w.moe_layers * w.micro_batches;
    if (goes == 1) continue;
    rows.halved_forward += runs;
    rows.halved_backward += w.micro_batches * w.moe_layers;
  }
  count.exchange(rows, bytes_of(w.expert_tokens), there_and_back);
  count.exchange(rows, bytes_of(static_cast<double>(w.tokens * w.moe_layers)), gradients);
  terms.push_back(rows);
}

/// What sets of states, sent along the ring one after another, cost.
void relay(CommunicationTerm& t, const Workload& w, int64_t sets) {
  add(t.bytes, {sets, w.carried_bytes});
  add(t.messages, {sets, 2, w.mamba_layers});
}

/// In `segments` every rank's map of each state is gathered; with the state at the start in `fresh` of them.
void scan(CommunicationTerm& t, const Workload& w, const Counter& count, int64_t segments, int64_t fresh) {
  const int64_t p = w.mesh.shape.cp;
  const int64_t of_a_rank =
      segments * (w.tail_bytes + 2 * w.state_bytes) + fresh * (w.tail_bytes + w.state_bytes);
  int64_t bytes = 0;
  add(bytes, {w.micro_batches, w.mesh.shape.dp, p, p - 1, w.mamba_layers, of_a_rank});
  count.exchange(t, bytes, w.micro_batches * 2 * w.mamba_layers * segments);
}

void count_carries(std::vector<CommunicationTerm>& terms, const Workload& w, const Counter& count) {
  const int64_t p = w.mesh.shape.cp, lines = w.mesh.shape.dp * w.micro_batches;
  if (p == 1) return;
  const SegmentRuns& r = w.runs;
  const bool exact = r.backward_segments > 0;
  CommunicationTerm states{.name = "states", .axis = MeshAxis::kCp};
  CommunicationTerm gradients{.name = "gradients of states", .axis = MeshAxis::kCpBackward};
  if (w.mesh.cp_link == CarryLinkKind::kScan) {
    scan(states, w, count, r.start_segments + r.boundary_segments, r.from_start + r.from_boundary);
    if (exact) scan(gradients, w, count, r.backward_segments, 1);
  } else {
    // The last rank of a sweep's last segment has nobody to send to; every rank knows a boundary's states.
    relay(states, w, lines * (p * r.start_segments - r.from_start));
    relay(states, w, lines * p * (r.boundary_segments - r.from_boundary));
    states.calls = w.micro_batches * (r.start_segments + r.boundary_segments) * 2 * w.mamba_layers;
    if (w.carry_state) {  // from the last rank to the first, each with a header
      relay(states, w, lines);
      states.bytes += lines * (kStatesHeader + 2 * w.mamba_layers * kStateHeader);
      states.messages += lines * (1 + 2 * w.mamba_layers);
    }
    if (exact) relay(gradients, w, lines * (p * r.backward_segments - 1));
    gradients.calls = exact ? w.micro_batches * r.backward_segments * 2 * w.mamba_layers : 0;
  }
  terms.push_back(states);
  terms.push_back(gradients);
}

}  // namespace

int64_t share_bytes(int64_t bytes, int64_t ranks, int64_t rank) {
  const int64_t all = bytes / kFloat, one = (all + ranks - 1) / ranks;
  return std::clamp<int64_t>(all - rank * one, 0, one) * kFloat;
}

int64_t axis_size(const MeshShape& shape, MeshAxis axis) {
  switch (axis) {
    case MeshAxis::kWorld:
    case MeshAxis::kGradients: return shape.ranks();
    case MeshAxis::kCp:
    case MeshAxis::kCpBackward: return shape.cp;
    case MeshAxis::kEp: return shape.ep;
    case MeshAxis::kExpertData: return shape.ranks() / shape.ep;
  }
  return 1;
}

std::vector<CommunicationTerm> count_traffic(const Workload& w, const std::vector<ModelShare>& shares) {
  std::vector<CommunicationTerm> terms;
  const Counter count(w);
  count_gradients(terms, w, shares, count);
  count_experts(terms, w, count);
  count_carries(terms, w, count);
  count_figures(terms, w, count);
  std::erase_if(terms, [](const CommunicationTerm& t) { return t.messages == 0; });
  return terms;
}

}  // namespace natrix
