// BambaForCausalLM: layers of a Mamba-2 mixer, or attention in the listed layers, and a dense SwiGLU MLP. By
// default half of each head's channels turn with the position.
//
// A layer of Bamba is two sublayers of the stack.
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/attention_keys.h"
#include "core/hf/families.h"
#include "core/hf/mamba2_keys.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

constexpr double kTurningPart = 0.5;

/// The stack of the mixers alone.
std::string bamba_mixers(const JsonObject& j, int64_t layers) {
  std::string mixers(static_cast<size_t>(layers), 'S');
  if (!hf::given(j, "attn_layer_indices")) return mixers;
  const nlohmann::json& list = j.at("attn_layer_indices");
  const auto is_layer = [&](const nlohmann::json& v) {
    return v.is_number_unsigned() && v.get<uint64_t>() < static_cast<uint64_t>(layers);
  };
  if (!list.is_array() || !std::ranges::all_of(list, is_layer))
    j.fail("attn_layer_indices", fmt::format("a list of layers below num_hidden_layers = {}", layers));
  for (const nlohmann::json& i : list) mixers[i.get<size_t>()] = '*';
  // Such a model is Llama's, under other names.
  if (mixers.find('S') == std::string::npos) j.fail("attn_layer_indices", "a layer that is not in the list");
  return mixers;
}

ModelConfig read_bamba(const JsonObject& j) {
  ModelConfig c;
  const int64_t layers = j.integer("num_hidden_layers", 1, kMostLayers / 2);
  std::string stack;
  for (const char mixer : bamba_mixers(j, layers)) stack += {mixer, '-'};
  hf::set_stack(c, stack);
  hf::read_common(j, false, c);
  c.norm_eps = j.number("rms_norm_eps", kLeastEps, kMostEps, 1e-5);
  const Mamba2Config defaults = hf::hybrid_mamba2_defaults();
  hf::read_mamba2(j, hf::kHybridSpelling, defaults,
                  hf::expanded_width(j, hf::kHybridSpelling, defaults, c.d_model), c);
  if (hf::stack_holds(c, '*')) {
    hf::read_attention(j, 8, true, c);
    hf::read_rope(j, kTurningPart, false, c);
  }
  c.mlp.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  hf::expect_silu(j);
  hf::expect_false(j, "mlp_bias");
  hf::expect_null(j, "sliding_window");
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

bool bamba_expresses(const ModelConfig& c) {
  const std::string stack = c.stack();
  if (stack.size() % 2 != 0 || stack.find('S') == std::string::npos) return false;
  for (size_t i = 0; i < stack.size(); i += 2) {
    if ((stack[i] != 'S' && stack[i] != '*') || stack[i + 1] != '-') return false;
  }
  const AttentionConfig& a = c.attention;
  const bool attention = stack.find('*') != std::string::npos;
  // GraniteMoeHybrid is the family of models with a scale of their own, even without attention.
  return !a.scale && (!attention || (a.rope != Rope::kNone && !a.window)) && c.mamba2.norm &&
         !c.mamba2.norm_before_gate && hf::heads_fill_width(c) && hf::plain_stream(c) &&
         hf::plain_mixers(c) && c.mlp.activation == MlpActivation::kSwiglu;
}

nlohmann::json write_bamba(const ModelConfig& c) {
  const std::string stack = c.stack();
  nlohmann::json attention = nlohmann::json::array();
  for (size_t i = 0; i < stack.size(); i += 2) {
    if (stack[i] == '*') attention.push_back(i / 2);
  }
  nlohmann::json out = {{"architectures", {"BambaForCausalLM"}},
                        {"model_type", "bamba"},
                        {"num_hidden_layers", stack.size() / 2},
                        {"rms_norm_eps", c.norm_eps},
                        {"intermediate_size", c.mlp.d_ff},
                        {"hidden_act", "silu"},
                        {"mlp_bias", false},
                        {"use_cache", true}};
  out["attn_layer_indices"] = attention.empty() ? nlohmann::json() : attention;
  out.update(hf::mamba2_json(hf::kHybridSpelling, c));
  out.update(hf::attention_json(!hf::heads_divide_width(c), c));
  if (!attention.empty()) out["rope_parameters"] = hf::rope_json(kTurningPart, c);
  return out;
}

HfNames bamba_names(const ModelConfig& c) {
  return {.embedding = "model.embed_tokens.weight",
          .final_norm = "model.final_layernorm.weight",
          .norm =
              [](int i) {
                return fmt::format("model.layers.{}.{}.weight", i / 2,
                                   i % 2 == 0 ? "input_layernorm" : "pre_ff_layernorm");
              },
          .block =
              [stack = c.stack()](int i) {
                const char* mixer = stack[static_cast<size_t>(i)] == '*' ? "self_attn" : "mamba";
                return fmt::format("model.layers.{}.{}.", i / 2, i % 2 == 0 ? mixer : "feed_forward");
              }};
}

}  // namespace

HfFamily bamba_family() {
  return {.model_type = "bamba",
          .name = "BambaForCausalLM",
          .reads = "BambaForCausalLM",
          .read = read_bamba,
          .expresses = bamba_expresses,
          .write = write_bamba,
          .names = bamba_names};
}

}  // namespace natrix
