#include "launch/api/machine.h"

#include <fmt/format.h>

#include "core/sequence/diagnose.h"
#include "kernels/base/build.h"
#include "kernels/cuda/stream.h"

namespace natrix {

Backend automatic_backend() {
  if constexpr (build::kCuda) {
    if (cuda::device_count() > 0) return Backend::kCuda;
  }
  return Backend::kCpu;
}

Backend parse_backend(const std::string& name) {
  if (name == "auto") return automatic_backend();
  if (name == "cpu") return Backend::kCpu;
  if (name == "reference") return Backend::kReference;
  if (name == "cuda") {
    if constexpr (build::kCuda) return Backend::kCuda;
    throw InputError("--backend cuda: this build of natrix has no CUDA backend; use --backend cpu");
  }
  throw InputError(fmt::format("--backend {}: choose one of auto, cpu, cuda, reference", name));
}

Backend MachineOptions::backend_kind() const {
  return parse_backend(backend);
}

Dtype MachineOptions::element() const {
  if (dtype == "fp32") return Dtype::kF32;
  if (dtype == "fp64" && backend_kind() == Backend::kReference) return Dtype::kF64;
  if (dtype == "bf16" && backend_kind() == Backend::kCuda) return Dtype::kBF16;
  const char* others = backend_kind() == Backend::kReference ? " or fp64"
                       : dtype == "fp64"                     ? "; fp64 needs --backend reference"
                       : dtype == "bf16"                     ? "; bf16 needs --backend cuda"
                       : backend_kind() == Backend::kCuda    ? " or bf16"
                                                             : "";
  throw InputError(
      fmt::format("--dtype {}: the {} backend computes in fp32{}", dtype, name_of(backend_kind()), others));
}

WeightFormat MachineOptions::weight_format() const {
  if (weights == "f32" || weights == "fp32") return WeightFormat::kF32;
  if (weights == "bf16") return WeightFormat::kBF16;
  if (weights == "int8" || weights == "q8_0") return WeightFormat::kInt8;
  throw InputError(fmt::format("--weights {}: choose one of f32, bf16, int8", weights));
}

void pack_for_reading(Model& model, Context& ctx, const MachineOptions& options) {
  const WeightFormat format = options.weight_format();
  if (format == WeightFormat::kF32) {
    if (ctx.backend() == Backend::kCpu) model.pack(ctx, format);
    if (ctx.backend() == Backend::kCuda) model.keep_rounded();
    return;
  }
  if (model.dtype() != Dtype::kF32 || ctx.backend() == Backend::kCuda) {
    throw InputError(fmt::format("--weights {}: {} reads its weights as they are; leave --weights out",
                                 options.weights,
                                 ctx.backend() == Backend::kCuda ? "backend cuda" : "--dtype fp64"));
  }
  try {
    model.pack(ctx, format);
  } catch (const InputError&) {  // int8 cannot represent this tensor
    const std::string weight = nonfinite_weight(model);
    if (weight.empty()) throw;
    throw NonfiniteError(fmt::format("--weights {}: the weight {} is not finite", options.weights, weight));
  }
}

}  // namespace natrix
