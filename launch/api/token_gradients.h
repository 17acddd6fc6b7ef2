// Loss and gradients of given tokens with respect to the parameters and to the states before the first token.
#pragma once

#include <string>

#include "core/files/safetensors.h"
#include "core/sequence/segment_schedule.h"

namespace natrix {

/// The same model without auxiliary losses: its gradient is that of the cross-entropy alone.
ModelConfig cross_entropy_only(ModelConfig config);

struct GradientRequest {
  View tokens, targets;                // [B, T] i64; a target may be kIgnoreTarget
  const CarryStates* start = nullptr;  // states before the first token; null: zero
  const CarryStates* dend = nullptr;   // gradient of a loss with respect to the states at the end; null: zero
  double divisor = 1;                  // of the sum of the cross-entropies
  int64_t chunk = 2048;
  std::string consequence = {};  // ends the message of a NonfiniteError
};

struct TokenGradients {
  double loss = 0;     // loss sum / divisor
  CarryStates dstart;  // gradient with respect to the states before the first token
  CarryStates end;     // states after the last token
};

/// Adds to Param::grad. NonfiniteError if the loss or a gradient is not finite; its message says where that
/// began.
TokenGradients token_gradients(Model& model, Context& ctx, const GradientRequest& request);

/// Param::value or Param::grad of every part, under the checkpoint's names, in f32 and in host memory.
struct F32Parts {
  std::vector<NamedTensor> named;
  std::vector<Buffer> memory;
};
F32Parts f32_parts(Model& model, View Param::*which);

}  // namespace natrix
