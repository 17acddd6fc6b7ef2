// ParamStore: the memory of all parameters.
//
// With gradients there is one flat buffer for all parameters and one for all gradients, in the order of the
// stack. The global norm, AdamW's sharding and gradient buckets rely on them. Tensors start at cache lines.
// Without gradients each parameter has its own buffer, which packing frees. If activations are bf16,
// parameters that are operands of products also have a bf16 copy.
#pragma once

#include <vector>

#include "core/layers/param.h"
#include "kernels/base/buffer.h"

namespace natrix {

/// The offset of each parameter in the flat buffer, in elements. The last entry is the buffer's length.
std::vector<int64_t> param_offsets(const std::vector<Param*>& params, Dtype dtype);

class ParamStore {
 public:
  /// `dtype` is that of activations. Parameters have wide(dtype).
  ParamStore(const std::vector<Param*>& params, Dtype dtype, bool with_gradients,
             Memory memory = Memory::kHost);
  /// Sets all gradients to zero. Those that products compute are only marked; see adds_to_gradient().
  void zero_gradients(Context& ctx);
  /// Packs each parameter with Param::packs and frees its f32 values, one parameter at a time. The model is
  /// read-only afterwards. The store must have no gradients.
  /// InputError names a parameter that the format cannot hold.
  void pack(Context& ctx, WeightFormat format);
  /// Frees the f32 values of parameters that have a bf16 copy, except those of `kept`. The model is read-only
  /// afterwards. The store must have no gradients.
  void keep_rounded(const Param& kept);

 private:
  std::vector<Param*> params_;
  Buffer values_, gradients_;
  std::vector<Buffer> values_of_;  // one per parameter, without gradients
  std::vector<Buffer> rounded_;
  Buffer packed_, scales_;
};

}  // namespace natrix
