// ParamStore: memory of parameters. With gradients, one flat buffer for all parameters and one for all
// gradients, in the order of the stack: what the global norm, AdamW's sharding and gradient buckets read.
// Tensors start at cache lines. Without, each has its own, which packing gives back. Where activations are
// bf16, those that products read have a copy in bf16, too.
#pragma once

#include <vector>

#include "core/layers/param.h"
#include "kernels/base/buffer.h"

namespace natrix {

/// Where each parameter begins in the buffer, in elements; the last entry is its length.
std::vector<int64_t> param_offsets(const std::vector<Param*>& params, Dtype dtype);

class ParamStore {
 public:
  /// dtype: of activations; that of the parameters is wide(dtype).
  ParamStore(const std::vector<Param*>& params, Dtype dtype, bool with_gradients,
             Memory memory = Memory::kHost);
  void zero_gradients(Context& ctx);  // those that products write become so with adds_to_gradient()
  /// For reading from now on: packs what packs (Param::packs), one after another, and gives up its f32
  /// values. The store must have no gradients.
  /// InputError with the parameter's name if the format cannot hold it.
  void pack(Context& ctx, WeightFormat format);
  /// For reading from now on: gives up the f32 values of parameters that are read in bf16, but for `kept`.
  /// The store must have no gradients.
  void keep_rounded(const Param& kept);

 private:
  std::vector<Param*> params_;
  Buffer values_, gradients_;
  std::vector<Buffer> values_of_;  // of each parameter
  std::vector<Buffer> rounded_;
  Buffer packed_, scales_;
};

}  // namespace natrix
