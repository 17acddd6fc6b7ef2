// Keys of config.json that several families have, and the bounds of their values.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "configs/schema/model.h"
#include "core/files/json.h"

namespace natrix::hf {

// Far above any real model, and low enough that no product of two extents overflows; parse_hf_config() bounds
// the whole.
constexpr int64_t kMostLayers = 100'000;
constexpr int64_t kMostWidth = int64_t{1} << 24;
constexpr int64_t kMostVocabulary = int64_t{1} << 31;
constexpr int64_t kMostExperts = 65'536;
constexpr int64_t kMostStates = 65'536;
constexpr int64_t kMostTaps = 1'024;
constexpr int64_t kMostExpand = 1'024;
constexpr double kLeastEps = 1e-15, kMostEps = 1.0;

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
