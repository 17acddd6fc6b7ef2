#include "launch/plan/step_count.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <numeric>
#include <utility>

#include "distributed/carry_relay.h"
#include "distributed/send_states.h"

namespace natrix {
namespace {

using Entry = SegmentRun::Entry;
using Kind = CountingCommunicator::Kind;

// Counts saturate here, so that nothing overflows.
constexpr int64_t kMost = int64_t{1} << 61;

/// Adds the product of the factors to `to`, saturating at kMost.
void add(int64_t& to, std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (int64_t f : factors) {
    if (__builtin_mul_overflow(product, f, &product)) product = kMost;
    product = std::min(product, kMost);
  }
  to = std::min(to + product, kMost);
}

void add(CommunicationTerm& t, const Traffic& sent, std::initializer_list<int64_t> times) {
  int64_t n = 0;
  add(n, times);
  add(t.bytes, {sent.bytes, n});
  add(t.messages, {sent.messages, n});
}

/// The properties of a run that decide its cost and its messages.
struct Sort {
  SegmentRun run;  // run.segment is 1 for the last segment of a row and 0 for all others
  bool recorded = false, gradient_first = false, gradient_last = false;
  int64_t history = 0;  // RunKey::history: the mean of these runs, as the cost of a run is linear in it

  static constexpr size_t kSorts = 512;
  size_t index() const {
    const std::array<std::pair<size_t, int>, 7> digits = {{{recorded, 2},
                                                           {static_cast<size_t>(run.entry), 8},
                                                           {static_cast<size_t>(run.visit), 2},
                                                           {run.last, 2},
                                                           {static_cast<size_t>(run.segment), 2},
                                                           {gradient_first, 2},
                                                           {gradient_last, 2}}};
    size_t n = 0;
    for (const auto& [digit, base] : digits) n = n * static_cast<size_t>(base) + digit;
    return n;
  }
};

/// A SegmentRunner that only counts the runs that SweepOrder asks for.
class RunCounter final : public SegmentRunner {
 public:
  /// history: how many tokens precede a segment. Empty for a model without attention.
  RunCounter(int64_t segments, std::function<int64_t(int64_t)> history)
      : segments_(segments), history_(std::move(history)) {}

  void pass_over(const SegmentRun& run, bool kept) override {
    count({.run = run});
    held_ += kept ? 1 : 0;
    most_held_ = std::max(most_held_, held_);
  }
  void record(const SegmentRun& run) override { recorded_ = run; }
  void backward(int64_t segment, bool first) override {
    count({.run = recorded_, .recorded = true, .gradient_first = first, .gradient_last = segment == 0});
  }
  void drop_boundary() override { --held_; }

  int64_t most_held() const { return most_held_; }
  std::vector<std::pair<Sort, int64_t>> take() const {
    std::vector<std::pair<Sort, int64_t>> all;
    for (size_t i = 0; i < Sort::kSorts; ++i) {
      if (counts_[i] == 0) continue;
      all.emplace_back(sorts_[i], counts_[i]);
      all.back().first.history = std::llround(before_[i] / static_cast<double>(counts_[i]));
    }
    return all;
  }

 private:
  void count(Sort sort) {
    const int64_t before = history_ ? history_(sort.run.segment) : 0;
    sort.run.segment = sort.run.segment == segments_ - 1 ? 1 : 0;
    const size_t i = sort.index();
    sorts_[i] = sort;
    ++counts_[i];
    before_[i] += static_cast<double>(before);
  }

  int64_t segments_, held_ = 0, most_held_ = 0;
  std::function<int64_t(int64_t)> history_;
  SegmentRun recorded_;
  std::array<Sort, Sort::kSorts> sorts_{};
  std::array<int64_t, Sort::kSorts> counts_{};
  std::array<double, Sort::kSorts> before_{};  // sums of histories
};

/// The runs of one micro-batch, in the order of SegmentSchedule::step.
void walk(SweepOrder& sweep, const StepOrder& order) {
  if (order.together) sweep.survey(/*record_last=*/false);
  if (!order.exact) return sweep.truncated(order.together ? Visit::kAgain : Visit::kFirst);
  if (!order.together) sweep.survey(/*record_last=*/true);
  sweep.retrace();
}

}  // namespace

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

struct StepCounter::Peers {
  int64_t experts = 0;  // of each layer
  int rank = 0;         // the first such rank
  int64_t ranks = 0;    // the number of such ranks in the mesh
  DryRank* dry = nullptr;
};

class StepCounter::Step {
 public:
  Step(StepCounter& counter, const PlannedMesh& mesh, const ExperimentConfig& config)
      : c_(counter), mesh_(mesh), shape_(mesh.shape), config_(config), ctx_(Context::Dry{counter.like_}) {
    const SequenceConfig& s = config.sequence;
    const int64_t stretch = shape_.cp * mesh.chunk;
    micro_batches_ = config.train.batch_size / shape_.dp / mesh.micro_batch;
    segments_ = (s.length + stretch - 1) / stretch;
    rest_ = s.length - (segments_ - 1) * stretch;
    scans_ = shape_.cp > 1 && mesh.cp_link == CarryLinkKind::kScan;
    carried_bytes_ = bytes_of(c_.needs_.carries, mesh.micro_batch);
    for (const CarriedState& state : c_.needs_.carries) {
      appends_ += state.appends() ? 1 : 0;
      if (!state.appends())
        zeros_.make(state.key, state.spec.dtype, state.shape(mesh.micro_batch), Memory::kDry);
    }
    order_ = step_order(
        {.gradient = s.gradient, .boundary_memory = s.boundary_memory, .needs_tally = c_.needs_.needs_tally},
        micro_batches_, carried_bytes_);
    find_kinds();
  }

  /// Stops as soon as memory exceeds `most`.
  StepCount count(int64_t most) {
    RunCounter counter(segments_, histories());
    SweepOrder sweep(segments_, order_.slots, counter);
    walk(sweep, order_);
    const std::vector<std::pair<Sort, int64_t>> sorts = counter.take();
    StepCount n{.micro_batches = micro_batches_,
                .segments = segments_,
                .memory = {},
                .communication = {},
                .runs = {},
                .update = {},
                .exact = order_.exact,
                .scans = scans_};
    for (const auto& [sort, times] : sorts) n.forward_runs += times * micro_batches_;
    n.memory.boundaries = counter.most_held() * carried_bytes_ * (order_.together ? micro_batches_ : 1);
    // Each sweep (forward, backward) holds the states that it entered with and those that it left. A scan
    // also holds the states at the start and at the end of its slice. With carry_state, each micro-batch
    // holds its states from before and after the step.
    const bool carries_on = config_.sequence.carry_state;
    n.memory.carried = carried_bytes_ * (2 * (scans_ ? 3 : 2) + (carries_on ? 2 * micro_batches_ : 0));
    n.memory.keys_values = keys_values();
    // Recorded runs take the most memory, so a step that does not fit is detected first.
    for (const bool recorded : {true, false}) {
      for (const auto& [sort, times] : sorts) {
        if (sort.recorded != recorded) continue;
        add_memory(n.memory, sort);
        if (n.memory.total() > most) return n;
      }
    }
    for (const auto& [sort, times] : sorts) add_runs(n, sort, times * micro_batches_);
    if (carries_on && shape_.cp > 1 && !scans_) hand_on();
    add_communication(n);
    n.complete = true;
    return n;
  }

 private:
  /// Groups the ranks by the number of experts they own, largest first.
  void find_kinds() {
    const int64_t experts = c_.needs_.experts, ep = shape_.ep;
    for (int r = 0; r < shape_.ep; ++r) {
      const int64_t owned = experts * (r + 1) / ep - experts * r / ep;
      auto kind = std::ranges::find(kinds_, owned, &StepCounter::Peers::experts);
      if (kind == kinds_.end()) kind = kinds_.insert(kind, {.experts = owned, .rank = r});
      kind->ranks += shape_.ranks() / ep;
    }
    std::ranges::sort(kinds_, std::greater(), &StepCounter::Peers::experts);
    for (StepCounter::Peers& kind : kinds_) {
      // A scan gathers states along cp. Otherwise the cost of a run does not depend on cp.
      const int cp = scans_ ? shape_.cp : 1;
      kind.dry = &c_.rank(config_, {.dp = shape_.ep / std::gcd(shape_.ep, cp), .cp = cp, .ep = shape_.ep},
                          kind.rank);
    }
  }

  /// The figure of the last rank of a cp group, which is the largest.
  std::function<int64_t(int64_t)> histories() const {
    if (appends_ == 0) return {};
    const int64_t window = config_.model.attention.window.value_or(0);
    return [=, this](int64_t segment) {
      const int64_t cp = shape_.cp, whole = cp * mesh_.chunk, own = segment == segments_ - 1 ? rest_ : whole;
      const int64_t before = segment * whole + own - part(own, cp - 1);
      return window > 0 ? std::min(before, window) : before;
    };
  }

  /// The last rank of a cp group holds rows of the whole sequence, and in exact training as much again of their
  /// gradients. Truncated, a layer holds gradients of the segment's rows while it runs backward.
  int64_t keys_values() const {
    const int64_t rows = mesh_.micro_batch, length = config_.sequence.length;
    const int64_t held = bytes_of_rows(c_.needs_.carries, rows, length);
    int64_t gradients = order_.exact ? held : 0;
    for (const CarriedState& state : c_.needs_.carries) {
      if (order_.exact || !state.appends()) continue;
      const int64_t last = rest_ / shape_.cp, tokens = std::min(length, std::max(mesh_.chunk, last));
      gradients = std::max(gradients, RowStore::bytes_for(state.row_format(), rows, tokens + kPageRows - 1));
    }
    return held * (order_.together ? micro_batches_ : 1) + gradients;
  }

  RunKey key_of(const Sort& sort, int64_t tokens) const {
    const bool alone = segments_ * shape_.cp == 1,
               next = sort.run.entry == Entry::kAfterStart || sort.run.entry == Entry::kAfterBoundary;
    const auto between = [&](RunKey::Entry scanned) {
      return scans_ ? scanned : alone ? RunKey::Entry::kNone : RunKey::Entry::kNext;
    };
    RunKey key{
        .rows = mesh_.micro_batch, .tokens = tokens, .recorded = sort.recorded, .visit = sort.run.visit};
    key.history = sort.history;
    key.states = between(next                               ? RunKey::Entry::kNext
                         : sort.run.entry == Entry::kReplay ? RunKey::Entry::kAlone
                                                            : RunKey::Entry::kFirst);
    if (sort.recorded && order_.exact) {
      key.gradients = between(sort.gradient_first ? RunKey::Entry::kFirst : RunKey::Entry::kNext);
    }
    return key;
  }

  int64_t tokens_of(const Sort& sort) const {  // on the rank with the most tokens
    return sort.run.segment == 1 ? (rest_ + shape_.cp - 1) / shape_.cp : mesh_.chunk;
  }

  void add_memory(RankMemory& m, const Sort& sort) {
    for (const StepCounter::Peers& kind : kinds_) {
      m.activations = std::max(m.activations, kind.dry->run(key_of(sort, tokens_of(sort))).arena);
      const RestCost& rest = c_.rest(*kind.dry, shape_, kind.rank);
      m.weights = std::max(m.weights, rest.weights);
      m.gradients = std::max(m.gradients, rest.gradients);
      m.rounded = std::max(m.rounded, rest.rounded);
      m.optimizer = std::max(m.optimizer, rest.optimizer);
      m.sums = std::max(m.sums, rest.sums);
    }
  }

  /// Adds `times` runs on each rank.
  void add_runs(StepCount& n, const Sort& sort, int64_t times) {
    const int64_t cp = shape_.cp, tokens = tokens_of(sort);
    const int64_t longer = sort.run.segment == 1 ? rest_ % cp : 0;  // ranks of a cp group with one token more
    for (const StepCounter::Peers& kind : kinds_) {
      const RunCost& cost = kind.dry->run(key_of(sort, tokens));
      if (longer == 0 || shape_.ep == 1) {
        add_rows(cost, {times, kind.ranks});
      } else {
        add_rows(cost, {times, kind.ranks * longer / cp});
        add_rows(kind.dry->run(key_of(sort, tokens - 1)), {times, kind.ranks - kind.ranks * longer / cp});
      }
      if (&kind != &kinds_.front()) continue;
      n.runs.push_back({.count = times, .entry = sort.run.entry, .cost = &cost, .recorded = sort.recorded});
      for (const RunPart* part : {&cost.forward, &cost.backward}) {
        add(choices_, part->choices.all, {times, shape_.ranks() / shape_.ep});
        choices_.calls += times * part->choices.calls;
        rows_.calls += times * part->rows.calls;
      }
      if (scans_) {
        add_maps(states_, cost.forward, times);
        add_maps(gradients_, cost.backward, times);
      }
    }
    if (cp > 1 && appends_ > 0) share_rows(sort, times);
    if (cp == 1 || scans_) return;
    if (sort.run.entry != Entry::kReplay)
      relay(states_, Direction::kForward, sort.run.entry, sort.run.last, times);
    if (!sort.recorded || !order_.exact) return;
    const Entry from = sort.gradient_first ? Entry::kStart : Entry::kAfterStart;
    relay(gradients_, Direction::kBackward, from, sort.gradient_last, times);
  }

  void add_rows(const RunCost& cost, std::initializer_list<int64_t> times) {
    add(rows_, cost.forward.rows.mine, times);
    add(rows_, cost.backward.rows.mine, times);
  }

  void add_maps(CommunicationTerm& t, const RunPart& part, int64_t times) const {
    add(t, part.maps.all, {times, shape_.ranks() / shape_.cp});
    t.calls += times * part.maps.calls;
  }

  /// Counts the appended rows that the ranks of a cp group send each other in a run, and their gradients: what
  /// SharedRows::append and collect send.
  void share_rows(const Sort& sort, int64_t times) {
    const int64_t cp = shape_.cp, row = mesh_.micro_batch * bytes_per_token(c_.needs_.carries);
    const int64_t tokens = sort.run.segment == 1 ? rest_ : cp * mesh_.chunk;
    const bool starts = sort.run.entry == Entry::kStart;
    if (starts || sort.run.entry == Entry::kAfterStart) {
      // Each message of rows follows a message of 8 bytes with their number.
      Traffic sent{.messages = starts ? (cp - 1) * appends_ : 0};
      sent.bytes = 8 * sent.messages;
      for (int64_t q = 0; q < cp; ++q) {
        const int64_t peers = sort.run.last ? cp - 1 - q + (scans_ && q > 0 ? 1 : 0) : cp - 1;
        sent.messages += 2 * appends_ * peers;
        sent.bytes += peers * (8 * appends_ + part(tokens, q) * row);
      }
      add(keys_values_, sent, {times, shape_.dp});
      keys_values_.calls += times * 2 * appends_ * (cp - 1);
    }
    if (!sort.recorded || !order_.exact) return;
    Traffic sent;
    for (int64_t q = 0; q < cp; ++q) {
      // Rank q receives from the ranks after it, and from those before it for its previous super-segment.
      const int64_t earlier = sort.gradient_last ? 0 : q;
      sent.messages += appends_ * (cp - 1 - q + earlier);
      sent.bytes += row * ((cp - 1 - q) * part(tokens, q) + earlier * mesh_.chunk);
    }
    add(row_gradients_, sent, {times, shape_.dp});
    row_gradients_.calls += times * appends_ * (cp - 1);
  }

  /// The number of tokens of one rank of a cp group.
  int64_t part(int64_t tokens, int64_t rank) const {
    return tokens / shape_.cp + (rank < tokens % shape_.cp ? 1 : 0);
  }

  /// Counts the messages of a run between the ranks of a cp group, by running CarryRelay. The ranks between
  /// the first and the last all send the same, so one of them is counted for all.
  void relay(CommunicationTerm& t, Direction direction, Entry entry, bool last, int64_t times) {
    const int cp = shape_.cp;
    int64_t calls = 0;
    for (int place = 0; place < std::min(cp, 3); ++place) {
      const bool is_last = place == std::min(cp, 3) - 1;
      const int rank =
          direction == Direction::kForward ? (is_last ? cp - 1 : place) : (is_last ? 0 : cp - 1 - place);
      CountingCommunicator axis(rank, cp);
      CarryRelay route(axis, ctx_, direction);
      const bool from_boundary = entry == Entry::kBoundary || entry == Entry::kAfterBoundary;
      from_boundary ? route.rejoin(zeros_) : route.resume(nullptr);
      if (entry == Entry::kAfterStart || entry == Entry::kAfterBoundary) route.begin_segment(false);
      route.begin_segment(last);
      for (const auto& [key, state] : zeros_.entries()) {
        route.enter(key, state.view().dtype, state.view().shape, {});
        route.leave(key, state.view());
      }
      const CountingCommunicator::Count& sent = axis.count(Kind::kMessage);
      add(t, sent.mine, {times, shape_.dp, place == 1 && !is_last ? cp - 2 : 1});
      calls = std::max(calls, sent.calls);
    }
    t.calls += times * calls;
  }

  /// Counts the end states that the last rank of a cp group sends to the first, for every micro-batch.
  void hand_on() {
    CountingCommunicator axis(shape_.cp - 1, shape_.cp);
    send_states(axis, ctx_, zeros_, 0);
    add(states_, axis.count(Kind::kMessage).mine, {micro_batches_, shape_.dp});
    const int64_t header = 8 * 8;  // send_states sends one before the rows of each layer
    add(keys_values_,
        {.messages = 2 * appends_,
         .bytes = header * appends_ +
                  mesh_.micro_batch * config_.sequence.length * bytes_per_token(c_.needs_.carries)},
        {micro_batches_, shape_.dp});
  }

  void add_communication(StepCount& n) {
    std::vector<CommunicationTerm> terms;
    for (const StepCounter::Peers& kind : kinds_) {
      const RestCost& rest = c_.rest(*kind.dry, shape_, kind.rank);
      const bool first = &kind == &kinds_.front();
      if (first) n.update = rest.update;
      for (size_t i = 0; i < rest.terms.size(); ++i) {
        const RestCost::Term& t = rest.terms[i];
        if (first) {
          terms.push_back({.name = t.name, .axis = t.axis, .behind_backward = t.behind_backward});
        }
        terms[i].calls = std::max(terms[i].calls, t.count.calls);
        // Ranks that own the same experts sum their gradients. Other axes are the same on all ranks.
        const int64_t size = axis_size(shape_, t.axis);
        if (t.axis == MeshAxis::kExpertData) {
          add(terms[i], t.count.all, {kind.ranks / size});
        } else if (first) {
          add(terms[i], t.count.all, {shape_.ranks() / size});
        }
      }
    }
    const auto with = [&](const CommunicationTerm& t) {
      if (t.messages > 0) n.communication.push_back(t);
    };
    for (const MeshAxis axis : {MeshAxis::kGradients, MeshAxis::kExpertData}) {
      for (const CommunicationTerm& t : terms) {
        if (t.axis == axis) with(t);
      }
    }
    for (const CommunicationTerm& t : {choices_, rows_, states_, gradients_, keys_values_, row_gradients_})
      with(t);
    for (const CommunicationTerm& t : terms) {
      if (t.axis == MeshAxis::kWorld || t.axis == MeshAxis::kEp) with(t);
    }
  }

  StepCounter& c_;
  const PlannedMesh& mesh_;
  const MeshShape& shape_;
  const ExperimentConfig& config_;
  Context ctx_;
  int64_t micro_batches_, segments_, rest_, carried_bytes_;
  int64_t appends_ = 0;  // append carries
  bool scans_;
  StepOrder order_;
  CarryStates zeros_;
  std::vector<StepCounter::Peers> kinds_;
  CommunicationTerm choices_{.name = "rows per expert", .axis = MeshAxis::kEp};
  CommunicationTerm rows_{.name = "tokens to experts", .axis = MeshAxis::kEp};
  CommunicationTerm states_{.name = "states", .axis = MeshAxis::kCp};
  CommunicationTerm gradients_{.name = "gradients of states", .axis = MeshAxis::kCpBackward};
  CommunicationTerm keys_values_{.name = "keys and values", .axis = MeshAxis::kCp};
  CommunicationTerm row_gradients_{.name = "gradients of keys, values", .axis = MeshAxis::kCpBackward};
};

StepCounter::StepCounter(ExperimentConfig config, Backend like, const LayerKinds& kinds)
    : config_(std::move(config)),
      like_(like),
      kinds_(kinds),
      needs_(needs_of(*describe_model(config_.model, nullptr, kinds))) {}

StepCounter::~StepCounter() = default;

StepCount StepCounter::count(const PlannedMesh& mesh, int64_t most) {
  const ExperimentConfig config = on_mesh(config_, mesh);
  check_layout(config, needs_, mesh.shape);
  return Step(*this, mesh, config).count(most);
}

DryRank& StepCounter::rank(const ExperimentConfig& config, const MeshShape& shape, int rank) {
  std::unique_ptr<DryRank>& dry =
      ranks_[{shape.dp, shape.cp, shape.ep, static_cast<int64_t>(config.parallel.cp_link), rank}];
  if (!dry) dry = std::make_unique<DryRank>(config, kinds_, shape, rank, like_);
  return *dry;
}

const RestCost& StepCounter::rest(DryRank& dry, const MeshShape& shape, int rank) {
  const std::vector<int64_t> key = {shape.ranks(), shape.ep, rank};
  const auto known = rests_.find(key);
  return known != rests_.end() ? known->second : rests_.emplace(key, dry.rest(shape, rank)).first->second;
}

}  // namespace natrix
