// Keys of config.json that several families have. Their bounds: configs/schema/model_bounds.h.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "configs/schema/model.h"
#include "configs/schema/model_bounds.h"
#include "core/files/json.h"

namespace natrix::hf {

/// Sets pattern and repeat: the shortest pattern that gives `stack`, and how often it repeats.
void set_stack(ModelConfig& config, const std::string& stack);

/// hidden_size, vocab_size and tie_word_embeddings, which has the default of the HF class.
void read_common(const JsonObject& j, bool tied, ModelConfig& config);

/// An integer or "auto", which is a sixteenth of the width, rounded up.
int64_t dt_rank(const JsonObject& j, const std::string& key, int64_t d_model);

/// InputError if hidden_act, or another key of that meaning, is not "silu".
void expect_silu(const JsonObject& j, const std::string& key = "hidden_act");

/// Two numbers of at least 0, in order; either may be infinite, in both spellings (Infinity of Python's json,
/// and {"__float__": "Infinity"}). time_step_limit is such a pair.
std::pair<double, double> limits(const JsonObject& j, const std::string& key,
                                 std::pair<double, double> fallback);

}  // namespace natrix::hf
