// natrix plan: estimates memory, communication and time of a step on a number of ranks of a machine.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "launch/commands/common.h"
#include "launch/commands/number_flags.h"
#include "launch/config_source.h"
#include "launch/experiment.h"
#include "launch/layouts.h"
#include "launch/plan/print.h"
#include "launch/warning.h"

namespace natrix {
namespace {

struct PlanFlags {
  std::string config, device, layout;
  std::vector<std::string> overrides;
  int64_t ranks = 0, top = 5;
  bool json = false, quiet = false;
};

constexpr int64_t kMostRanks = int64_t{1} << 20;

ExperimentConfig read_config(const PlanFlags& flags, const LayerKinds& kinds) {
  std::vector<std::string> overrides = flags.overrides;
  refuse_mesh_overrides(overrides,
                        "plan looks for the mesh by itself, whatever parallel says; name one with --layout, "
                        "such as --layout dp2cp4ep8scan");
  overrides.insert(overrides.end(), {"parallel.dp=1", "parallel.cp=1", "parallel.ep=1"});
  LoadedConfig loaded = load_config(flags.config, overrides).loaded;
  const DeviceConfig device = loaded.config.device;
  if (device.dtype == DeviceDtype::kFp64) {
    throw InputError("device.dtype: fp64 is the reference backend's, for tests; plans are of fp32 and bf16");
  }
  loaded.config.device = {};  // the default device, which exists in every build
  ExperimentConfig config = resolve_experiment(std::move(loaded), 1, print_warning, kinds).config;
  config.device = device;
  return config;
}

/// The smallest number of ranks above `ranks` on which a plan fits, among ranks·2^k and the powers of two; 0
/// if there is none.
int64_t first_that_fits(StepPlanner& planner, int64_t ranks) {
  std::vector<int64_t> numbers;
  for (int64_t n = 2 * ranks; n <= kMostRanks; n *= 2) numbers.push_back(n);
  for (int64_t n = 1; n <= kMostRanks; n *= 2) {
    if (n > ranks) numbers.push_back(n);
  }
  std::sort(numbers.begin(), numbers.end());
  for (int64_t n : numbers) {
    try {
      if (search_plans(planner, n).fitting > 0) return n;
    } catch (const InputError&) {  // no mesh of n ranks divides the experiment, or the machine lacks a link
    }
  }
  return 0;
}

int plan(const PlanFlags& flags, const LayerKinds& kinds) {
  if ((flags.ranks > 0) == !flags.layout.empty()) {
    throw InputError(
        "plan needs either --ranks N, and looks for the mesh, or --layout, such as --layout dp2cp4ep8scan");
  }
  const MachineConfig machine = load_machine(flags.device);
  const ExperimentConfig config = read_config(flags, kinds);
  PlanReport report{.config_path = flags.config,
                    .config = config,
                    .machine = machine,
                    .kinds = kinds,
                    .ranks = flags.ranks,
                    .search = {}};
  StepPlanner planner(config, machine, kinds);
  if (flags.layout.empty()) {
    report.search = search_plans(planner, flags.ranks);
    if (report.search.fitting == 0) report.fits_from = first_that_fits(planner, flags.ranks);
  } else {
    const ParallelConfig p = parse_layout(flags.layout);
    report.ranks = *p.dp * p.cp;
    report.search = search_plans(planner, settle_mesh(p, static_cast<int>(report.ranks)), p.cp_link);
  }
  if (flags.json) {
    print_json(plans_json(report, flags.top));
  } else {
    print_plans(report, flags.top);
  }
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Action& chosen, const Program& program) {
  CLI::App* c = add_command(app, "plan",
                            "Memory, communication and time of a step on so many ranks of a machine, before "
                            "it is paid for");
  auto f = std::make_shared<PlanFlags>();
  as_path(c->add_option("CONFIG", f->config, "The experiment's YAML file, or a run directory"))->required();
  c->add_option("OVERRIDES", f->overrides, "section.key=value, over what the file says");
  add_integer_flag(*c, "--ranks", f->ranks, 1, kMostRanks,
                   "Ranks, a device each: all meshes of so many are compared");
  c->add_option("--layout", f->layout, "Or one mesh: dp2, cp4, dp2cp2ep4, dp2cp4ep8scan");
  as_path(c->add_option(
              "--device", f->device,
              fmt::format("A machine: {}, or a YAML file of its figures", fmt::join(machine_names(), ", "))))
      ->required();
  add_integer_flag(*c, "--top", f->top, 1, 1000, "Meshes to show");
  c->add_flag("--json", f->json, "Print one JSON object to stdout and nothing else there");
  c->add_flag("-q,--quiet", f->quiet, "No remarks; plan has none, scripts may pass it to every command");
  c->footer(
      "Example: natrix plan configs/mamba-moe-50b.yaml --ranks 1024 --device h100\n"
      "         natrix plan configs/quickstart.yaml --layout cp2ep2 --device cpu2 sequence.length=65536");
  c->callback([f, &chosen, &program] { chosen = [f, &program] { return plan(*f, program.kinds); }; });
}

}  // namespace natrix
