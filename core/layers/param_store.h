// ParamStore: one flat buffer for all parameters and one for all gradients, in the order of the stack: what
// the global norm, AdamW's sharding and gradient buckets read. Tensors start at cache lines.
#pragma once

#include <vector>

#include "core/layers/param.h"
#include "kernels/base/buffer.h"

namespace natrix {

class ParamStore {
 public:
  ParamStore(const std::vector<Param*>& params, Dtype dtype, bool with_gradients, Memory memory);
  void zero_gradients();

 private:
  Buffer values_, gradients_;
};

}  // namespace natrix
