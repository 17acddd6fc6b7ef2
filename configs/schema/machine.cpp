#include "configs/schema/machine.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <map>

#include "configs/schema/builtin_machines.h"
#include "configs/schema/config_error.h"
#include "configs/schema/field_types.h"
#include "configs/schema/key_reader.h"
#include "configs/schema/suggest.h"

namespace natrix {
namespace {

constexpr double kMostRate = 1e21;  // far beyond any device, and products stay finite

/// A share of a peak: a device that reaches none of it has no plan.
Field fraction_field(std::string key, double& to, std::string help) {
  return number_field(std::move(key), to, 0.001, 1, std::move(help));
}

void add_link(std::vector<Field>& f, const std::string& section, LinkFigures& link, const char* between) {
  f.push_back(
      optional_number_field(section + ".bandwidth", link.bandwidth, "none", 1, kMostRate,
                            fmt::format("Bytes a second that a device sends to others of {}", between)));
  f.push_back(
      fraction_field(section + ".fraction", link.fraction, "Of the bandwidth that large messages see"));
  f.push_back(number_field(section + ".latency", link.latency, 0, 1, "Seconds until a message arrives"));
  f.push_back(number_field(section + ".overhead", link.overhead, 0, 1,
                           "Seconds that each message keeps its sender busy"));
}

std::vector<Field> fields_of(MachineConfig& c) {
  std::vector<Field> f;
  f.push_back(text_field("device.name", c.device.name, "What people call it"));
  f.push_back(choice_field("device.backend", c.device.backend,
                           {{"cpu", DeviceBackend::kCpu}, {"cuda", DeviceBackend::kCuda}},
                           "What runs on it"));
  for (auto [key, to] : {std::pair("compute.fp32", &c.compute.fp32),
                         {"compute.bf16", &c.compute.bf16},
                         {"compute.fp64", &c.compute.fp64}}) {
    f.push_back(
        optional_number_field(key, *to, "none", 1, kMostRate, "Operations a second of matrix products"));
  }
  f.push_back(
      fraction_field("compute.fraction", c.compute.fraction, "Of them that a model's products reach"));
  f.push_back(number_field("compute.exps", c.compute.exps, 1, kMostRate, "Exponentials a second"));
  f.push_back(bytes_field("memory.size", c.memory.size, "Bytes a device has"));
  f.push_back(fraction_field("memory.usable", c.memory.usable, "The part of them that a run may take"));
  f.push_back(number_field("memory.bandwidth", c.memory.bandwidth, 1, kMostRate, "Bytes a second"));
  f.push_back(fraction_field("memory.fraction", c.memory.fraction, "Of the bandwidth that kernels reach"));
  f.push_back(integer_field("node.devices", c.node_devices, 1, 1 << 20, "Devices that a node's link joins"));
  add_link(f, "node", c.node, "its node");
  add_link(f, "network", c.network, "other nodes");
  return f;
}

/// Nothing of a machine has a default.
void expect_all(KeyReader& keys, const std::map<std::string, std::string>& origin, const std::string& file) {
  for (const Field& f : keys.fields()) {
    if (!origin.contains(f.key))
      keys.report(file, fmt::format("{}: missing; {} ({})", f.key, f.expects, f.help));
  }
  keys.raise_problems();
}

template <class Add>
MachineConfig read(const std::string& origin, Add&& add) {
  MachineConfig machine;
  std::map<std::string, std::string> set;
  KeyReader keys({.needs = "a machine needs device, compute, memory, node and network, as in "
                           "configs/devices/h100.yaml",
                  .listed = "configs/devices/h100.yaml shows them all"},
                 fields_of(machine), set);
  add(keys);
  keys.raise_problems();
  expect_all(keys, set, origin);
  return machine;
}

}  // namespace

std::optional<double> MachineConfig::flops(DeviceDtype dtype) const {
  const std::optional<double>& peak = dtype == DeviceDtype::kFp32   ? compute.fp32
                                      : dtype == DeviceDtype::kBf16 ? compute.bf16
                                                                    : compute.fp64;
  if (!peak) return std::nullopt;
  return *peak * compute.fraction;
}

MachineConfig parse_machine(std::string_view text, const std::string& origin) {
  return read(origin, [&](KeyReader& keys) { keys.add_text(text, origin); });
}

MachineConfig load_machine(const std::string& name) {
  if (name.ends_with(".yaml") || name.ends_with(".yml") || name.find('/') != std::string::npos) {
    return read(name, [&](KeyReader& keys) { keys.add_file(name); });
  }
  for (const BuiltinMachine& m : builtin_machines()) {
    if (m.name == name) return parse_machine(m.text, fmt::format("configs/devices/{}.yaml", name));
  }
  const std::string near = nearest_word(name, machine_names());
  throw ConfigError(fmt::format(
      "--device: {} is no machine that natrix knows{}; there are {}, or give the path "
      "of a YAML file with its figures, such as mine.yaml",
      name, near.empty() ? "" : fmt::format(" (did you mean {}?)", near), fmt::join(machine_names(), ", ")));
}

std::vector<std::string> machine_names() {
  std::vector<std::string> names;
  for (const BuiltinMachine& m : builtin_machines()) names.emplace_back(m.name);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace natrix
