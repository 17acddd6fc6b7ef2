// Where a model runs and in what its weights are kept: the flags --backend, --dtype, --weights and --threads,
// and the options of the C++ API with the same names.
#pragma once

#include <cstdint>
#include <string>

#include "core/layers/model.h"

namespace natrix {

/// What `auto` selects: CUDA if this build has it and a device answers, else the CPU.
Backend automatic_backend();
/// InputError for an unknown name, and for a backend that this build lacks.
Backend parse_backend(const std::string& name);

struct MachineOptions {
  std::string backend = "auto";
  std::string dtype = "fp32";
  std::string weights = "f32";
  int64_t threads = 0;  // 0: as many as this process may use; a rank, its part of the host's

  Backend backend_kind() const;
  Dtype element() const;  // fp64 runs on the reference backend only
  WeightFormat weight_format() const;
};

/// Brings a model that is only read from now on into the format of --weights, and into the layout that this
/// backend reads fastest. What needs the weights themselves (their hash) comes before.
void pack_for_reading(Model& model, Context& ctx, const MachineOptions& options);

}  // namespace natrix
