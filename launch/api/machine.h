// The machine that a model runs on, and the format of its weights: the flags --backend, --dtype, --weights and
// --threads, and the options of the C++ API with the same names.
#pragma once

#include <cstdint>
#include <string>

#include "core/layers/model.h"

namespace natrix {

/// The backend that `auto` selects: CUDA if this build has it and a device responds, else the CPU.
Backend automatic_backend();
/// InputError for an unknown name, and for a backend that this build lacks.
Backend parse_backend(const std::string& name);

struct MachineOptions {
  std::string backend = "auto";
  std::string dtype = "fp32";
  std::string weights = "f32";
  int64_t threads = 0;  // 0: all processors that this process may use; a rank uses its share of the host's

  Backend backend_kind() const;
  Dtype element() const;  // fp64 runs on the reference backend only
  WeightFormat weight_format() const;
};

/// Converts the weights of a model that will not be trained to the format of --weights, in the layout that the
/// backend reads fastest. Anything that needs the original weights (their hash) must come before.
void pack_for_reading(Model& model, Context& ctx, const MachineOptions& options);

}  // namespace natrix
