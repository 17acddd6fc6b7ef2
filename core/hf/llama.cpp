// LlamaForCausalLM: layers of attention with rotary embeddings and a dense SwiGLU MLP.
//
// A layer of Llama is two sublayers of the stack.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/attention_keys.h"
#include "core/hf/families.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

ModelConfig read_llama(const JsonObject& j) {
  ModelConfig c;
  const int64_t layers = j.integer("num_hidden_layers", 1, kMostLayers / 2);
  c.pattern = "*-";
  c.repeat = layers;
  hf::read_common(j, false, c);
  c.norm_eps = j.number("rms_norm_eps", kLeastEps, kMostEps, 1e-6);
  hf::read_attention(j, 0, true, c);
  hf::read_rope(j, 1, true, c);
  c.mlp.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  hf::expect_silu(j);
  hf::expect_false(j, "mlp_bias");
  hf::expect_null(j, "sliding_window");
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

bool llama_expresses(const ModelConfig& c) {
  const std::string stack = c.stack();
  if (stack.empty() || stack.size() % 2 != 0) return false;
  for (size_t i = 0; i < stack.size(); ++i) {
    if (stack[i] != (i % 2 == 0 ? '*' : '-')) return false;
  }
  const AttentionConfig& a = c.attention;
  return a.rope != Rope::kNone && a.rope_fraction == 1 && !a.scale && !a.window && hf::plain_stream(c) &&
         hf::plain_mixers(c) && c.mlp.activation == MlpActivation::kSwiglu;
}

nlohmann::json write_llama(const ModelConfig& c) {
  nlohmann::json out = {{"architectures", {"LlamaForCausalLM"}},
                        {"model_type", "llama"},
                        {"num_hidden_layers", c.stack().size() / 2},
                        {"rms_norm_eps", c.norm_eps},
                        {"intermediate_size", c.mlp.d_ff},
                        {"hidden_act", "silu"},
                        {"mlp_bias", false},
                        {"rope_parameters", hf::rope_json(1, c)},
                        {"use_cache", true}};
  out.update(hf::attention_json(true, c));
  return out;
}

HfNames llama_names(const ModelConfig&) {
  return {
      .embedding = "model.embed_tokens.weight",
      .final_norm = "model.norm.weight",
      .norm =
          [](int i) {
            return fmt::format("model.layers.{}.{}.weight", i / 2,
                               i % 2 == 0 ? "input_layernorm" : "post_attention_layernorm");
          },
      .block =
          [](int i) { return fmt::format("model.layers.{}.{}.", i / 2, i % 2 == 0 ? "self_attn" : "mlp"); }};
}

}  // namespace

HfFamily llama_family() {
  return {.model_type = "llama",
          .name = "LlamaForCausalLM",
          .reads = "LlamaForCausalLM",
          .read = read_llama,
          .expresses = llama_expresses,
          .write = write_llama,
          .names = llama_names};
}

}  // namespace natrix
