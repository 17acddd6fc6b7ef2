// A machine as `natrix plan` knows it: what one device computes, holds and says to others. Field names are
// the YAML keys; configs/devices/*.yaml are machines, with the source of every number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/schema/experiment.h"

namespace natrix {

struct LinkFigures {
  std::optional<double> bandwidth;  // bytes a second that a device sends; none: there is no such link
  double fraction = 0;              // of it that messages of a megabyte see
  double latency = 0;               // seconds until the first byte arrives
  double overhead = 0;              // seconds that each message keeps its sender busy
  double rate() const { return bandwidth.value_or(0) * fraction; }
};

struct MachineConfig {
  struct {
    std::string name;
    DeviceBackend backend = DeviceBackend::kCpu;  // that runs on it: cpu or cuda
  } device;
  struct {
    std::optional<double> fp32, bf16, fp64;  // operations a second of matrix products, at most
    double fraction = 0;                     // of them that matrix products of a model reach
    double exps = 0;                         // exponentials a second, f32, that a scan reaches
  } compute;
  struct {
    int64_t size = 0;      // bytes
    double usable = 0;     // the part of them that a run may take
    double bandwidth = 0;  // bytes a second, at most
    double fraction = 0;   // of it that kernels reach
    double rate() const { return bandwidth * fraction; }
  } memory;
  int64_t node_devices = 0;   // that `node` links
  LinkFigures node, network;  // between devices of one node, and of two

  std::optional<double> flops(DeviceDtype dtype) const;  // that products reach: peak · fraction
  int64_t usable_bytes() const {
    return static_cast<int64_t>(static_cast<double>(memory.size) * memory.usable);
  }
};

/// `name`: that of a machine that came with natrix ("h100"), or the path of a YAML file. ConfigError for an
/// unknown name, and for a file in which a key is missing, unknown, repeated or not what is expected.
MachineConfig load_machine(const std::string& name);
MachineConfig parse_machine(std::string_view text, const std::string& origin);

/// Of the machines that came with natrix, in alphabetical order.
std::vector<std::string> machine_names();

}  // namespace natrix
