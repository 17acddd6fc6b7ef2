// ModelConfig → config.json, and the token ids beside it.
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

using nlohmann::json;

json mamba_keys(const ModelConfig& c) {
  return {{"architectures", {"MambaForCausalLM"}},
          {"model_type", "mamba"},
          {"num_hidden_layers", c.stack().size()},
          {"layer_norm_epsilon", c.norm_eps},
          {"state_size", c.mamba.d_state},
          {"conv_kernel", c.mamba.d_conv},
          {"expand", c.mamba.expand},
          {"intermediate_size", c.d_inner()},
          {"time_step_rank", c.dt_rank()},
          {"use_conv_bias", c.mamba.conv_bias},
          {"use_bias", c.mamba.proj_bias},
          {"hidden_act", "silu"},
          {"residual_in_fp32", true},
          {"use_cache", true}};
}

json jamba_keys(const ModelConfig& c) {
  const std::string stack = c.stack();
  const auto layers = static_cast<int64_t>(stack.size() / 2);
  const bool experts = stack.find('E') != std::string::npos;
  const ExpertLayers where = *jamba_expert_layers(stack);
  // Jamba cannot say "no attention": its period has to be longer than the model.
  const int64_t attention_period = std::max<int64_t>(100, layers + 1);
  return {
      {"architectures", {"JambaForCausalLM"}},
      {"model_type", "jamba"},
      {"num_hidden_layers", layers},
      {"rms_norm_eps", c.norm_eps},
      {"mamba_d_state", c.mamba.d_state},
      {"mamba_d_conv", c.mamba.d_conv},
      {"mamba_expand", c.mamba.expand},
      {"mamba_dt_rank", c.dt_rank()},
      {"mamba_conv_bias", c.mamba.conv_bias},
      {"mamba_proj_bias", c.mamba.proj_bias},
      {"hidden_act", "silu"},
      {"intermediate_size", experts ? c.moe.d_ff : c.mlp.d_ff},
      {"num_experts", experts ? c.moe.num_experts : 1},
      {"num_experts_per_tok", experts ? c.moe.top_k : 1},
      {"expert_layer_period", where.period},
      {"expert_layer_offset", where.offset},
      {"attn_layer_period", attention_period},
      {"attn_layer_offset", attention_period - 1},
      {"use_mamba_kernels", false},  // transformers 4 fails on a CPU with true; 5 ignores it
      {"use_cache", false}};  // transformers 5.23 fails to make a cache for Jamba without attention layers
}

const char* name_of(MlpActivation activation) {
  switch (activation) {
    case MlpActivation::kSwiglu: return "swiglu";
    case MlpActivation::kGeglu: return "geglu";
    case MlpActivation::kGelu: return "gelu";
    case MlpActivation::kRelu2: return "relu2";
  }
  contract_broken("unknown activation", std::source_location::current());
}

json natrix_keys(const ModelConfig& c) {
  json moe = {{"num_experts", c.moe.num_experts},
              {"top_k", c.moe.top_k},
              {"d_ff", c.moe.d_ff},
              {"activation", name_of(c.moe.activation)},
              {"router", c.moe.router == Router::kSoftmax ? "softmax" : "sigmoid"},
              {"renormalize", c.moe.renormalize},
              {"shared_experts", c.moe.shared_experts},
              {"capacity_factor", nullptr},
              {"aux_loss_coef", c.moe.aux_loss_coef},
              {"z_loss_coef", c.moe.z_loss_coef},
              {"bias_update_rate", c.moe.bias_update_rate}};
  if (c.moe.capacity_factor) moe["capacity_factor"] = *c.moe.capacity_factor;
  const json mamba = {{"d_state", c.mamba.d_state},         {"d_conv", c.mamba.d_conv},
                      {"expand", c.mamba.expand},           {"dt_rank", c.dt_rank()},
                      {"inner_norms", c.mamba.inner_norms}, {"conv_bias", c.mamba.conv_bias},
                      {"proj_bias", c.mamba.proj_bias}};
  return {{"architectures", {"NatrixForCausalLM"}},
          {"model_type", "natrix"},
          {"num_hidden_layers", c.stack().size()},
          {"use_cache", true},
          {"natrix",
           {{"pattern", c.pattern},
            {"repeat", c.repeat},
            {"d_model", c.d_model},
            {"vocab_size", *c.vocab_size},
            {"tie_embeddings", c.tie_embeddings},
            {"norm_eps", c.norm_eps},
            {"mamba", mamba},
            {"mlp", {{"d_ff", c.mlp.d_ff}, {"activation", name_of(c.mlp.activation)}}},
            {"moe", moe}}}};
}

json family_keys(const ModelConfig& c) {
  switch (hf_family(c)) {
    case HfFamily::kMamba: return mamba_keys(c);
    case HfFamily::kJamba: return jamba_keys(c);
    case HfFamily::kNatrix: return natrix_keys(c);
  }
  contract_broken("unknown family", std::source_location::current());
}

// What the new file takes over: everything from the same class; from another class the token ids only.
json inherited_keys(const std::string& text, const std::string& model_type) {
  json kept = {{"bos_token_id", nullptr}, {"pad_token_id", nullptr}};  // absent, they would mean id 0 or 1
  if (text.empty()) return kept;
  const json parent = parse_json(text, "the inherited config.json", NonFinite::kTagged);
  if (parent.value("model_type", "") == model_type) kept.update(parent);
  for (const char* id : {"bos_token_id", "pad_token_id", "eos_token_id"}) {
    if (parent.contains(id)) kept[id] = parent[id];
  }
  // These speak of the parent's files: code beside it, its compression, its dtype under the older name.
  for (const char* key : {"auto_map", "quantization_config", "torch_dtype", "_name_or_path"}) kept.erase(key);
  return kept;
}

}  // namespace

std::string hf_config_json(const ModelConfig& config, std::optional<int64_t> eos_token_id,
                           const std::string& inherited) {
  require(config.vocab_size.has_value(), "a config.json needs the size of the vocabulary");
  const json own = family_keys(config);
  json out = inherited_keys(inherited, own["model_type"]);
  out.update(own);
  out["hidden_size"] = config.d_model;
  out["vocab_size"] = *config.vocab_size;
  out["tie_word_embeddings"] = config.tie_embeddings;
  out["dtype"] = "float32";
  if (eos_token_id) {
    out["eos_token_id"] = *eos_token_id;
  } else if (!out.contains("eos_token_id")) {
    out["eos_token_id"] = nullptr;
  }
  return out.dump(2) + "\n";
}

std::string hf_generation_config_json(const std::string& config_json) {
  const json config = parse_json(config_json, "config.json", NonFinite::kTagged);
  json out = {{"_from_model_config", true}};
  for (const char* id : {"bos_token_id", "pad_token_id", "eos_token_id"}) {
    if (config.contains(id) && !config[id].is_null()) out[id] = config[id];
  }
  out["use_cache"] = config.value("use_cache", true);  // generate() does not look into config.json for it
  return out.dump(2) + "\n";
}

std::vector<int64_t> read_hf_eos_token_ids(const std::string& dir) {
  std::vector<int64_t> ids;
  for (const char* name : {"generation_config.json", "config.json"}) {
    const std::string path = dir + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    const json whole = read_json_file(path, NonFinite::kTagged);
    const JsonObject j(whole, path);
    if (!j.has("eos_token_id") || j.at("eos_token_id").is_null()) continue;
    const json& eos = j.at("eos_token_id");
    for (const json& id : eos.is_array() ? eos : json::array({eos})) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > uint64_t{INT32_MAX}) {
        j.fail("eos_token_id", "a token id or a list of them");
      }
      if (std::ranges::find(ids, id.get<int64_t>()) == ids.end()) ids.push_back(id.get<int64_t>());
    }
  }
  return ids;
}

}  // namespace natrix
