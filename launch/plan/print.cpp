#include "launch/plan/print.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/report/units.h"
#include "launch/assemble.h"

namespace natrix {
namespace {

const char* name_of(CarryLinkKind link) {
  return link == CarryLinkKind::kScan ? "scan" : "relay";
}

double tokens_of(const ExperimentConfig& c) {
  return static_cast<double>(c.train.batch_size * c.sequence.length);
}

std::string name_of(const PlannedMesh& m) {
  return fmt::format("dp {} x cp {}, ep {}{}", m.shape.dp, m.shape.cp, m.shape.ep,
                     m.shape.cp > 1 ? fmt::format(", {}", name_of(m.cp_link)) : "");
}

/// Prints a time in seconds, minutes or hours. The steps of a plan may take any of them.
std::string duration(double seconds) {
  if (seconds < 600) return human_seconds(seconds);
  return seconds < 36000 ? fmt::format("{:.0f} min", seconds / 60) : fmt::format("{:.1f} h", seconds / 3600);
}

bool fits(const PlanReport& r, const StepPlan& p) {
  return p.memory.total() <= r.machine.usable_bytes();
}

void print_head(const PlanReport& r) {
  const ParameterCount n = describe_model(r.config.model, nullptr, r.kinds)->count_parameters();
  fmt::print("{}: {} x {}, {} parameters ({} active); a step is {} rows of {} tokens\n", r.config_path,
             r.config.model.pattern, r.config.model.repeat, human_count(static_cast<double>(n.total)),
             human_count(static_cast<double>(n.active)), r.config.train.batch_size, r.config.sequence.length);
  fmt::print("{} x {}, of whose {} a run may take {}\n\n", r.ranks, r.machine.device.name,
             human_bytes(r.machine.memory.size), human_bytes(r.machine.usable_bytes()));
}

void print_table(const PlanReport& r, int64_t top) {
  fmt::print("{:>5} {:>6} {:>5}  {:<5} {:>5} {:>7}  {:>10}  {:>8}  {:>8}  {}\n", "dp", "cp", "ep", "link",
             "micro", "chunk", "memory", "a step", "tokens/s", "most of it");
  for (const StepPlan& p : r.search.plans) {
    if (top-- == 0) break;
    const MeshShape& s = p.mesh.shape;
    fmt::print("{:>5} {:>6} {:>5}  {:<5} {:>5} {:>7}  {:>10}", s.dp, s.cp, s.ep,
               s.cp > 1 ? name_of(p.mesh.cp_link) : "", p.mesh.micro_batch, p.mesh.chunk,
               human_bytes(p.memory.total()));
    if (!fits(r, p)) {
      fmt::print("  does not fit\n");
      continue;
    }
    const TimeTerm& most = p.time.front();
    fmt::print("  {:>8}  {:>8}  {} {:.0f} % ({})\n", duration(p.seconds()),
               human_count(tokens_of(r.config) / p.seconds()), most.name, 100 * most.seconds / p.seconds(),
               most.bound);
  }
}

/// How the first plan compares with the second, or with a rank's memory.
void print_verdict(const PlanReport& r) {
  const StepPlan& best = r.search.plans.front();
  const int64_t usable = r.machine.usable_bytes();
  if (r.search.fitting == 0) {
    fmt::print("\ndoes not fit: {} needs {} of {} a rank, the least of {} meshes; {}\n", name_of(best.mesh),
               human_bytes(best.memory.total()), human_bytes(usable), r.search.plans.size(),
               r.fits_from > 0
                   ? fmt::format("{} ranks can hold it", r.fits_from)
                   : "neither can its doubles or any power of two: what every rank holds is too much");
    return;
  }
  fmt::print("\n{} of {} meshes fit; {} is the fastest", r.search.fitting, r.search.plans.size(),
             name_of(best.mesh));
  if (r.search.fitting > 1) {
    const StepPlan& next = r.search.plans[1];
    std::string name;
    double most = 0;
    for (const TimeTerm& t : next.time) {
      const auto same = std::find_if(best.time.begin(), best.time.end(),
                                     [&](const TimeTerm& b) { return b.name == t.name; });
      const double more = t.seconds - (same == best.time.end() ? 0 : same->seconds);
      if (more > most) {
        most = more;
        name = t.name;
      }
    }
    if (!name.empty()) {
      fmt::print(": the next takes {} longer, {} of it or more for {}",
                 duration(next.seconds() - best.seconds()), duration(most), name);
    }
  }
  fmt::print("\n");
}

void print_memory(const PlanReport& r, const StepPlan& p) {
  const RankMemory& m = p.memory;
  fmt::print("\n{:<24} {:>12}\n", "memory of a rank", "");
  for (const auto& [name, bytes] : {std::pair("weights", m.weights),
                                    {"their copies in bf16", m.rounded},
                                    {"gradients", m.gradients},
                                    {"optimizer", m.optimizer},
                                    {"activations", m.activations},
                                    {"boundary states", m.boundaries},
                                    {"carried states", m.carried},
                                    {"keys and values", m.keys_values},
                                    {"sums under way", m.sums},
                                    {"together", m.total()}}) {
    fmt::print("  {:<22} {:>12}\n", name, human_bytes(bytes));
  }
  fmt::print("  {:<22} {:>12}\n", "there is", human_bytes(r.machine.usable_bytes()));
}

void print_time(const StepPlan& p) {
  fmt::print("\n{:<24} {:>12} {:>6}  {}\n", "time of a step", duration(p.seconds()), "%", "is a matter of");
  for (const TimeTerm& t : p.time) {
    fmt::print("  {:<22} {:>12} {:>6.1f}  {}\n", t.name, duration(t.seconds), 100 * t.seconds / p.seconds(),
               t.bound);
  }
  fmt::print(
      "  of a rank: micro-batches {}, segments of each {}; runs of a segment: forward {}, backward {}\n",
      p.micro_batches, p.segments, p.forward_runs, p.segments * p.micro_batches);
}

void print_communication(const StepPlan& p) {
  if (p.communication.empty()) return;
  fmt::print("\n{:<24} {:>12} {:>10} {:>12}  (all ranks)\n", "communication", "bytes", "messages", "time");
  for (const CommunicationTerm& t : p.communication) {
    fmt::print("  {:<22} {:>12} {:>10} {:>12}\n", t.name, human_bytes(t.bytes),
               human_count(static_cast<double>(t.messages)), duration(t.seconds));
  }
}

nlohmann::ordered_json plan_json(const PlanReport& r, const StepPlan& p) {
  const MeshShape& s = p.mesh.shape;
  nlohmann::ordered_json j = {{"dp", s.dp},
                              {"cp", s.cp},
                              {"ep", s.ep},
                              {"cp_link", name_of(p.mesh.cp_link)},
                              {"micro_batch_size", p.mesh.micro_batch},
                              {"chunk", p.mesh.chunk},
                              {"segments", p.segments},
                              {"micro_batches", p.micro_batches},
                              {"forward_runs", p.forward_runs},
                              {"fits", fits(r, p)},
                              {"memory",
                               {{"weights", p.memory.weights},
                                {"rounded_weights", p.memory.rounded},
                                {"gradients", p.memory.gradients},
                                {"optimizer", p.memory.optimizer},
                                {"activations", p.memory.activations},
                                {"boundary_states", p.memory.boundaries},
                                {"carried_states", p.memory.carried},
                                {"keys_and_values", p.memory.keys_values},
                                {"sums_under_way", p.memory.sums},
                                {"total", p.memory.total()}}},
                              {"seconds", p.seconds()},
                              {"tokens_per_second", tokens_of(r.config) / p.seconds()}};
  j["time"] = nlohmann::ordered_json::array();
  for (const TimeTerm& t : p.time)
    j["time"].push_back({{"term", t.name}, {"seconds", t.seconds}, {"bound", t.bound}});
  j["communication"] = nlohmann::ordered_json::array();
  for (const CommunicationTerm& t : p.communication) {
    j["communication"].push_back(
        {{"term", t.name}, {"bytes", t.bytes}, {"messages", t.messages}, {"seconds", t.seconds}});
  }
  return j;
}

}  // namespace

void print_plans(const PlanReport& r, int64_t top) {
  print_head(r);
  print_table(r, top);
  print_verdict(r);
  const StepPlan& first = r.search.plans.front();
  print_memory(r, first);
  if (fits(r, first)) {
    print_time(first);
    print_communication(first);
  }
  fmt::print(
      "\nCounted as the program works today: {}, optimizer state {}, sums between all ranks directly, "
      "nothing "
      "behind compute but sums of gradients and rows of experts{}. docs/planning.md says how.\n",
      r.config.device.dtype == DeviceDtype::kBf16
          ? "activations and products in bf16, the rest in fp32 (device.dtype)"
          : "fp32 (device.dtype)",
      r.config.parallel.zero > 0 ? "shared out over ranks" : "on every rank",
      r.machine.device.backend == DeviceBackend::kCuda ? "; no time was measured on a GPU yet" : "");
}

nlohmann::ordered_json plans_json(const PlanReport& r, int64_t top) {
  const ParameterCount n = describe_model(r.config.model, nullptr, r.kinds)->count_parameters();
  nlohmann::ordered_json j = {{"config", r.config_path},
                              {"parameters", n.total},
                              {"active_parameters", n.active},
                              {"device", r.machine.device.name},
                              {"dtype", r.config.device.dtype == DeviceDtype::kBf16 ? "bf16" : "fp32"},
                              {"usable_bytes", r.machine.usable_bytes()},
                              {"ranks", r.ranks},
                              {"meshes", r.search.plans.size()},
                              {"fitting", r.search.fitting}};
  if (r.fits_from > 0) j["fits_from"] = r.fits_from;
  j["plans"] = nlohmann::ordered_json::array();
  for (const StepPlan& p : r.search.plans) {
    if (top-- == 0) break;
    j["plans"].push_back(plan_json(r, p));
  }
  return j;
}

}  // namespace natrix
