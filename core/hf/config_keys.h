// Keys of config.json that several families have. Their bounds: configs/schema/model_bounds.h.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "configs/schema/model.h"
#include "configs/schema/model_bounds.h"
#include "core/files/json.h"

namespace natrix::hf {

/// Sets pattern and repeat: the shortest pattern that gives `stack`, and how often it repeats.
void set_stack(ModelConfig& config, const std::string& stack);
bool stack_holds(const ModelConfig& config, char letter);

/// hidden_size, vocab_size and tie_word_embeddings, which has the default of the HF class.
void read_common(const JsonObject& j, bool tied, ModelConfig& config);

/// Whether a key is there and is not null, which stands for its absence in many files.
bool given(const JsonObject& j, const std::string& key);

/// An integer or "auto", which is a sixteenth of the width, rounded up.
int64_t dt_rank(const JsonObject& j, const std::string& key, int64_t d_model);

/// InputError if hidden_act, or another key of that meaning, is not "silu".
void expect_silu(const JsonObject& j, const std::string& key = "hidden_act");
/// InputError if a key is true: it asks for what natrix does not have.
void expect_false(const JsonObject& j, const std::string& key);
/// InputError if a key has a value other than null.
void expect_null(const JsonObject& j, const std::string& key);

/// A factor of Granite and Falcon-H1.
double multiplier(const JsonObject& j, const std::string& key);
/// A list of `count` factors; absent or null: all 1.
std::vector<double> multipliers(const JsonObject& j, const std::string& key, size_t count);

/// Two numbers of at least 0, in order; either may be infinite, in both spellings (Infinity of Python's json,
/// and {"__float__": "Infinity"}). time_step_limit is such a pair.
std::pair<double, double> limits(const JsonObject& j, const std::string& key,
                                 std::pair<double, double> fallback);
nlohmann::json limits_json(double least, double most);

/// A list of names, each of which stands for a letter of the stack. `length`: how many there must be.
struct LayerName {
  const char* name;
  char letter;
};
std::string letters_of(const JsonObject& j, const std::string& key, const std::vector<LayerName>& names,
                       std::optional<int64_t> length = {});

}  // namespace natrix::hf
