// What a model has that only some families can say.
#pragma once

#include "configs/schema/model.h"

namespace natrix::hf {

/// Whether all multipliers are 1: those of the embedding, the residual stream and the logits.
bool plain_stream(const ModelConfig& config);
/// The same for the inputs, the outputs and the parts of mixers and of dense MLPs (Falcon-H1).
bool plain_mixers(const ModelConfig& config);
bool plain_attention(const ModelConfig& config);
/// Whether heads · head_dim = expand · d_model, which most classes of transformers demand.
bool heads_fill_width(const ModelConfig& config);
/// Softmax or sigmoid over all experts of one group, and nothing around the experts.
bool plain_routing(const MoeConfig& moe);

}  // namespace natrix::hf
