// Logits and loss of given tokens, chunk by chunk.
#pragma once

#include <functional>
#include <string>

#include "core/layers/model.h"

namespace natrix {

struct ScoreFigures {
  double loss_sum = 0;  // nats
  int64_t predictions = 0;
  float mean() const {
    return static_cast<float>(predictions > 0 ? loss_sum / static_cast<double>(predictions) : 0.0);
  }
};

/// Receives the logits [t, V] f32 in host memory of positions first … first + t − 1 of a row.
using LogitsVisitor = std::function<void(int64_t row, int64_t first, View logits)>;

/// tokens [B, T] i64. NonfiniteError if logits or the loss are not finite. Its message says where that began,
/// and ends with `consequence`.
ScoreFigures score_tokens(Model& model, Context& ctx, View tokens, int64_t chunk,
                          const std::string& consequence, const LogitsVisitor& visit);

}  // namespace natrix
