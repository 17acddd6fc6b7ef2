// Hugging Face directories: config.json to and from ModelConfig, and the names of tensors.
//
// A stack that a HF class can say is saved as that class;
// anything else in the same layout with model_type "natrix".
//   MambaForCausalLM   all M, inner_norms off
//   JambaForCausalLM   a mixer M followed by E or -, the E at a fixed period and offset; inner_norms on,
//                      SwiGLU, softmax routing without renormalisation, no shared experts or selection bias,
//                      one d_ff for all
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "configs/schema/model.h"

namespace natrix {

enum class HfFamily { kMamba, kJamba, kNatrix };

/// The family that `config` is saved as.
HfFamily hf_family(const ModelConfig& config);

/// Reads DIR/config.json. InputError for a missing or malformed file, a missing or impossible key, and for
/// models that natrix cannot run yet (attention layers, other classes), naming the key and what is supported.
/// The settings that HF does not hold (auxiliary coefficients, capacity) keep their defaults, except for
/// model_type "natrix", which holds all. vocab_size and dt_rank are always set.
ModelConfig read_hf_config(const std::string& dir);
/// The same from the text of a config.json; `origin` names it in errors.
ModelConfig parse_hf_config(std::string_view text, const std::string& origin);

/// The ids that end a document, each once: eos_token_id of generation_config.json, then of config.json. Often
/// one, maybe none.
std::vector<int64_t> read_hf_eos_token_ids(const std::string& dir);

/// The text of config.json. Without an end-of-document token its id is null. `inherited` is the config.json
/// that the model was initialised from, or empty:
/// its keys that natrix does not interpret (bos_token_id, …) are kept.
std::string hf_config_json(const ModelConfig& config, std::optional<int64_t> eos_token_id,
                           const std::string& inherited = {});
/// The text of generation_config.json that goes with it.
std::string hf_generation_config_json(const std::string& config_json);

/// Names in the checkpoint. `sublayer` indexes the stack string.
struct HfNames {
  explicit HfNames(const ModelConfig& config);
  std::string embedding() const;
  std::string final_norm() const;
  std::string head() const;
  std::string norm(int sublayer) const;   // weight of the norm before a sublayer
  std::string block(int sublayer) const;  // prefix of a sublayer's tensors, ends with '.'

 private:
  HfFamily family_;
};

/// JambaForCausalLM says where experts are with two numbers: MLP i is an MoE where i % period == offset.
struct ExpertLayers {
  int64_t period = 1, offset = 0;
};
/// The two numbers for a stack of pairs M-, ME; nothing if the stack has another form.
std::optional<ExpertLayers> jamba_expert_layers(std::string_view stack);

}  // namespace natrix
