#include "launch/plan/step_time.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include "launch/plan/links.h"

namespace natrix {
namespace {

using Entry = SegmentRun::Entry;

double real(int64_t n) {
  return static_cast<double>(n);
}

double rate_of(const MachineConfig& m, DeviceDtype dtype, const char* name) {
  if (const auto rate = m.flops(dtype)) return *rate;
  throw InputError(
      fmt::format("--device: {} has no compute.{}, and the experiment computes in it", m.device.name, name));
}

class Machine {
 public:
  Machine(const MachineConfig& m, DeviceDtype dtype)
      : m_(m),
        rate_(rate_of(m, DeviceDtype::kFp32, "fp32")),
        bf16_rate_(dtype == DeviceDtype::kBf16 ? rate_of(m, dtype, "bf16") : rate_) {}

  /// The maximum over resources, because they are used at the same time. Exponentials of elementwise work are
  /// ignored: memory limits it.
  TimeTerm take(const Cost& c) const {
    const double flops = c.flops / rate_ + c.bf16_flops / bf16_rate_;
    const double exps = c.work == Work::kElements ? 0 : c.exps / m_.compute.exps;
    const double bytes = c.bytes / m_.memory.rate(), most = std::max({flops, exps, bytes});
    return {.name = {},
            .seconds = most,
            .bound = most == bytes   ? "memory"
                     : most == flops ? "flops"
                                     : "exponentials"};
  }
  double seconds(const Cost& c) const { return take(c).seconds; }
  double seconds(const Ledger& l) const {
    double sum = 0;
    for (size_t i = 0; i < kWorks; ++i) sum += seconds(l.of(static_cast<Work>(i)));
    return sum;
  }

 private:
  const MachineConfig& m_;
  double rate_, bf16_rate_;  // operations per second in products
};

/// The sum over all kinds of work, as one cost.
Cost together(const Ledger& l) {
  Cost all;
  for (size_t i = 0; i < kWorks; ++i) all += l.of(static_cast<Work>(i));
  return all;
}

constexpr std::pair<Work, const char*> kNames[] = {{Work::kProducts, "products"},
                                                   {Work::kExpertProducts, "products of experts"},
                                                   {Work::kScan, "scan"},
                                                   {Work::kElements, "norms, gates, sums"},
                                                   {Work::kMaps, "maps of segments"}};

/// Adds up the parts of a term. The longest part sets the term's bound.
class Parts {
 public:
  void add(TimeTerm part, int64_t times) {
    const double seconds = part.seconds * real(times);
    sum_ += seconds;
    if (seconds <= most_) return;
    most_ = seconds;
    bound_ = std::move(part.bound);
  }
  TimeTerm term(std::string name) const {
    return {.name = std::move(name), .seconds = sum_, .bound = bound_};
  }

 private:
  double sum_ = 0, most_ = 0;
  std::string bound_;
};

class StepTime {
 public:
  StepTime(const MeshShape& shape, StepCount& step, DeviceDtype dtype, const MachineConfig& machine)
      : shape_(shape), step_(step), config_(machine), machine_(machine, dtype) {
    for (const CountedRuns& r : step.runs) {
      forward_ += real(r.count);
      if (r.recorded) backward_ += real(r.count);
    }
  }

  std::vector<TimeTerm> terms() {
    for (const auto& [work, name] : kNames) add_work(work, name);
    Parts head;
    for (const CountedRuns& r : step_.runs) head.add(machine_.take(together(r.cost->head)), r.count);
    add(head.term("head and loss"));
    TimeTerm update = machine_.take(together(step_.update));
    update.name = "optimizer";
    add(update);
    add_communication();
    std::stable_sort(terms_.begin(), terms_.end(),
                     [](const TimeTerm& a, const TimeTerm& b) { return a.seconds > b.seconds; });
    return std::move(terms_);
  }

 private:
  void add(TimeTerm t) {
    if (t.seconds > 0) terms_.push_back(std::move(t));
  }

  void add_work(Work work, const char* name) {
    Parts parts;
    for (const CountedRuns& r : step_.runs) {
      const TimeTerm forward = machine_.take(r.cost->forward.work.of(work));
      const TimeTerm backward = machine_.take(r.cost->backward.work.of(work));
      parts.add(forward, r.count);
      parts.add(backward, r.count);
      if (work == Work::kMaps) continue;
      forward_run_ += real(r.count) * forward.seconds / forward_;
      backward_run_ += real(r.count) * backward.seconds / backward_;
    }
    add(parts.term(name));
  }

  void add_communication() {
    to_hide_behind_ = backward_run_;
    for (CommunicationTerm& t : step_.communication) {
      Wait wait = exchange_time(config_, shape_, t);
      if (t.axis == MeshAxis::kEp && t.name == "tokens to experts") wait.seconds -= behind_experts();
      if (t.axis == MeshAxis::kEp) ep_seconds_ += wait.seconds;
      if (t.behind_backward) wait.seconds = exposed(wait.seconds);
      t.seconds = wait.seconds;
      if (!relayed(t)) add({.name = t.name, .seconds = t.seconds, .bound = wait.bound});
    }
    for (CommunicationTerm& t : step_.communication) {
      if (!relayed(t)) continue;
      t.seconds = t.axis == MeshAxis::kCp ? forward_wait() : backward_wait();
      add({.name = t.name, .seconds = t.seconds, .bound = "waiting"});
    }
  }

  bool relayed(const CommunicationTerm& t) const {
    return !step_.scans && (t.axis == MeshAxis::kCp || t.axis == MeshAxis::kCpBackward);
  }

  /// The part of `seconds` that is not hidden behind the backward run of the last segment. Consumes the time
  /// that it hides behind.
  double exposed(double seconds) {
    const double hidden = std::min(seconds, to_hide_behind_);
    to_hide_behind_ -= hidden;
    return seconds - hidden;
  }

  /// The time of row exchanges that is hidden behind experts' computation: for each exchange, at most the
  /// time computed between its start and the wait for it.
  double behind_experts() const {
    double hidden = 0;
    for (const CountedRuns& r : step_.runs) {
      for (const RunPart* part : {&r.cost->forward, &r.cost->backward}) {
        for (const CountingCommunicator::Overlap& o : part->overlaps) {
          const CommunicationTerm travel{.name = {},
                                         .axis = MeshAxis::kEp,
                                         .bytes = o.mine.bytes * shape_.ranks(),
                                         .messages = o.mine.messages * shape_.ranks(),
                                         .calls = 1};
          hidden += real(r.count) * std::min(exchange_time(config_, shape_, travel).seconds,
                                             machine_.seconds(o.meanwhile.of(Work::kExpertProducts)));
        }
      }
    }
    return hidden;
  }

  /// The sweep along this axis, limited by the state with the slowest hop.
  RelaySweep sweep(double run, MeshAxis axis) const {
    RelaySweep s{.ranks = shape_.cp, .run = run};
    for (const CountedRuns& r : step_.runs) {
      if (axis == MeshAxis::kCpBackward && !r.recorded) continue;
      const RunPart& part = axis == MeshAxis::kCp ? r.cost->forward : r.cost->backward;
      for (const Hop& hop : part.hops) {
        s.hop = std::max(s.hop, machine_.seconds(hop.work) + message_time(config_, shape_, axis, hop.bytes));
      }
      s.waits = std::max(s.waits, r.cost->forward.meetings);
    }
    s.group = s.waits > 0 ? std::min(shape_.cp, shape_.ep) : 1;
    return s;
  }

  double exchange_of_a_run() const {  // seconds of the row exchanges of one run in one direction
    return ep_seconds_ / (forward_ + backward_);
  }

  /// The waiting time of `sweeps` sweeps with `segments` segments in total: their time minus the time of
  /// their runs. Each sweep starts with idle ranks.
  static double excess(RelaySweep s, int64_t sweeps, int64_t segments) {
    if (sweeps == 0) return 0;
    s.segments = 1;
    const double first = s.seconds() - s.run;
    s.segments = 2;
    const double next = s.seconds() - 2 * s.run - first;
    return real(sweeps) * first + real(segments - sweeps) * next;
  }

  int64_t runs_that_enter(Entry entry) const {
    return std::accumulate(
        step_.runs.begin(), step_.runs.end(), int64_t{0},
        [&](int64_t n, const CountedRuns& r) { return n + (r.entry == entry ? r.count : 0); });
  }

  double forward_wait() const {
    const RelaySweep s = sweep(forward_run_ + exchange_of_a_run(), MeshAxis::kCp);
    const int64_t starts = runs_that_enter(Entry::kStart), after = runs_that_enter(Entry::kAfterBoundary);
    return excess(s, starts, starts + runs_that_enter(Entry::kAfterStart)) +
           // The first segment after a boundary does not wait.
           excess(s, std::min(runs_that_enter(Entry::kBoundary), after), after);
  }

  double backward_wait() const {
    // Each backward run follows the forward run that recorded its segment.
    const double run = forward_run_ + backward_run_ + 2 * exchange_of_a_run();
    return excess(sweep(run, MeshAxis::kCpBackward), step_.micro_batches,
                  step_.micro_batches * step_.segments);
  }

  const MeshShape& shape_;
  StepCount& step_;
  const MachineConfig& config_;
  const Machine machine_;
  std::vector<TimeTerm> terms_;
  double forward_ = 0, backward_ = 0;          // numbers of runs of segments
  double forward_run_ = 0, backward_run_ = 0;  // average seconds of a run, without communication
  double ep_seconds_ = 0;
  double to_hide_behind_ = 0;
};

}  // namespace

double RelaySweep::seconds() const {
  // Ranks of a group leave an exchange together, once the last of them has its state.
  const double together = static_cast<double>(waits * (group - 1)) * hop;
  // The time between two starts of rank 0.
  const double period = std::max(run + together, static_cast<double>(ranks) * hop);
  return static_cast<double>(segments - 1) * period + run + together +
         static_cast<double>(ranks - group) * hop;
}

std::vector<TimeTerm> estimate_time(const MeshShape& shape, StepCount& step, DeviceDtype dtype,
                                    const MachineConfig& machine) {
  return StepTime(shape, step, dtype, machine).terms();
}

}  // namespace natrix
