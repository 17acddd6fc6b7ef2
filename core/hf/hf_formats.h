// Hugging Face directories: config.json to and from ModelConfig, and the ids of tokens beside it.
//
// A model is saved as the first family of the table that expresses it (core/hf/families.h): as a class of
// transformers where one can say its stack, else in our own layout with model_type "natrix".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/hf/families.h"

namespace natrix {

/// Reads DIR/config.json. InputError for a missing or malformed file, a missing or impossible key, and for
/// models that natrix cannot run yet (attention layers, other classes), naming the key and what is supported.
/// The settings that HF does not hold (auxiliary coefficients, capacity) keep their defaults, except for
/// model_type "natrix", which holds all. vocab_size and dt_rank are always set. The letters of the stack are
/// not checked: launch knows the layers (read_checkpoint_model() in launch/assemble.h).
ModelConfig read_hf_config(const std::string& dir);
/// The same from the text of a config.json; `origin` names it in errors.
ModelConfig parse_hf_config(std::string_view text, const std::string& origin,
                            const HfFamilies& families = hf_families());

/// The ids that end a document, each once: eos_token_id of generation_config.json, then of config.json. Often
/// one, maybe none.
std::vector<int64_t> read_hf_eos_token_ids(const std::string& dir);
/// Those of one text of either.
std::vector<int64_t> parse_hf_eos_token_ids(std::string_view text, const std::string& origin);

/// The text of config.json. Without an end-of-document token its id is null. `inherited` is the config.json
/// that the model was initialised from, or empty:
/// its keys that natrix does not interpret (bos_token_id, …) are kept.
std::string hf_config_json(const ModelConfig& config, std::optional<int64_t> eos_token_id,
                           const std::string& inherited = {}, const HfFamilies& families = hf_families());
/// The text of generation_config.json that goes with it.
std::string hf_generation_config_json(const std::string& config_json);

}  // namespace natrix
