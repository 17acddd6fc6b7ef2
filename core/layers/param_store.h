// ParamStore: one flat buffer for all parameters and one for all gradients, in the order of the stack: what
// the global norm, AdamW's sharding and gradient buckets read. Tensors start at cache lines.
#pragma once

#include <vector>

#include "core/layers/param.h"
#include "kernels/base/buffer.h"

namespace natrix {

/// Where each parameter begins in the buffer, in elements; the last entry is its length.
std::vector<int64_t> param_offsets(const std::vector<Param*>& params, Dtype dtype);

class ParamStore {
 public:
  ParamStore(const std::vector<Param*>& params, Dtype dtype, bool with_gradients);
  void zero_gradients();

 private:
  Buffer values_, gradients_;
};

}  // namespace natrix
