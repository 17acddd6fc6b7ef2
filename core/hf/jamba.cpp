// JambaForCausalLM: layers of a Mamba-1 mixer with inner norms, or at a fixed period and offset attention
// without positions, and an MLP, which is dense or, at another period, a mixture of experts. SwiGLU, softmax
// routing without renormalisation, no shared experts or selection bias, one d_ff for all.
//
// A layer of Jamba is two sublayers of the stack.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/attention_keys.h"
#include "core/hf/families.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

constexpr char kMixer = 'M', kAttention = '*', kExperts = 'E', kDense = '-';

bool stack_holds(const std::string& stack, char letter) {
  return stack.find(letter) != std::string::npos;
}

/// Where one kind of layer is, in two numbers: layer i is of the kind if i % period == offset.
struct Period {
  int64_t period = 1, offset = 0;
  bool at(int64_t layer) const { return layer % period == offset; }
};

Period read_period(const JsonObject& j, const std::string& name, int64_t period, int64_t offset) {
  Period p;
  p.period = j.integer(name + "_period", 1, INT64_MAX, period);
  p.offset = j.integer(name + "_offset", 0, INT64_MAX, offset);
  if (p.offset >= p.period) j.fail(name + "_offset", fmt::format("less than {}_period = {}", name, p.period));
  return p;
}

ModelConfig read_jamba(const JsonObject& j) {
  ModelConfig c;
  const int64_t layers = j.integer("num_hidden_layers", 1, kMostLayers / 2);
  hf::read_common(j, false, c);
  c.norm_eps = j.number("rms_norm_eps", kLeastEps, kMostEps, 1e-6);
  c.mamba.d_state = j.integer("mamba_d_state", 1, kMostStates, 16);
  c.mamba.d_conv = j.integer("mamba_d_conv", 1, kMostTaps, 4);
  c.mamba.expand = j.integer("mamba_expand", 1, kMostExpand, 2);
  c.mamba.dt_rank = hf::dt_rank(j, "mamba_dt_rank", c.d_model);
  c.mamba.inner_norms = true;
  c.mamba.conv_bias = j.boolean("mamba_conv_bias", true);
  c.mamba.proj_bias = j.boolean("mamba_proj_bias", false);
  hf::expect_silu(j);

  const int64_t experts = j.integer("num_experts", 1, kMostExperts);
  const Period attention = read_period(j, "attn_layer", 8, 4), moe = read_period(j, "expert_layer", 2, 1);
  std::string stack;
  for (int64_t i = 0; i < layers; ++i) {
    stack += attention.at(i) ? kAttention : kMixer;
    stack += experts > 1 && moe.at(i) ? kExperts : kDense;
  }
  hf::set_stack(c, stack);
  c.mlp.d_ff = c.moe.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  if (stack_holds(stack, kExperts)) {
    c.moe.num_experts = experts;
    c.moe.top_k = j.integer("num_experts_per_tok", 1, experts, 2);
  }
  if (stack_holds(stack, kAttention)) {
    hf::read_attention(j, 8, false, c);
    hf::expect_false(j, "attention_bias");
    hf::expect_null(j, "sliding_window");
  }
  return c;
}

/// The period of the layers whose sublayer number `which` (0 or 1) has this letter. Nothing if there is none
/// such; `absent` if no layer has the letter.
std::optional<Period> period_of(std::string_view stack, size_t which, char letter, Period absent) {
  std::vector<int64_t> found;
  const auto layers = static_cast<int64_t>(stack.size() / 2);
  const auto is = [&](int64_t i) { return stack[static_cast<size_t>(2 * i) + which] == letter; };
  for (int64_t i = 0; i < layers; ++i) {
    if (is(i)) found.push_back(i);
  }
  if (found.empty()) return absent;
  const Period p{.period = found.size() > 1 ? found[1] - found[0] : layers, .offset = found.front()};
  if (p.offset >= p.period) return std::nullopt;
  for (int64_t i = 0; i < layers; ++i) {
    if (p.at(i) != is(i)) return std::nullopt;
  }
  return p;
}

struct JambaLayers {
  Period attention, experts;
};

/// nothing if the stack has another form than a mixer and an MLP by turns, or kinds without a period.
std::optional<JambaLayers> jamba_layers(std::string_view stack) {
  if (stack.empty() || stack.size() % 2 != 0) return std::nullopt;
  for (size_t i = 0; i < stack.size(); i += 2) {
    const bool mixer = stack[i] == kMixer || stack[i] == kAttention;
    const bool mlp = stack[i + 1] == kExperts || stack[i + 1] == kDense;
    if (!mixer || !mlp) return std::nullopt;
  }
  // Jamba cannot say "no attention": its period has to be longer than the model.
  const auto longer = std::max<int64_t>(100, static_cast<int64_t>(stack.size() / 2) + 1);
  const auto attention = period_of(stack, 0, kAttention, {.period = longer, .offset = longer - 1});
  const auto experts = period_of(stack, 1, kExperts, {});  // num_experts 1 then says that all are dense
  if (!attention || !experts) return std::nullopt;
  return JambaLayers{*attention, *experts};
}

bool jamba_expresses(const ModelConfig& c) {
  const std::string stack = c.stack();
  const bool dense = stack_holds(stack, kDense);
  if (!jamba_layers(stack) || !hf::plain_stream(c) || !hf::plain_mixers(c)) return false;
  if (!c.mamba.inner_norms || !c.mamba.inner_norm_weights ||
      c.mamba.inner_norm_eps.value_or(c.norm_eps) != c.norm_eps)
    return false;
  const AttentionConfig& a = c.attention;
  if (stack_holds(stack, kAttention) &&
      (a.rope != Rope::kNone || a.scale || a.window || a.proj_bias || !hf::heads_divide_width(c)))
    return false;
  if (dense && c.mlp.activation != MlpActivation::kSwiglu) return false;
  if (!stack_holds(stack, kExperts)) return true;
  const MoeConfig& moe = c.moe;
  return moe.activation == MlpActivation::kSwiglu && moe.router == Router::kSoftmax && !moe.renormalize &&
         moe.shared_experts == 0 && hf::plain_routing(moe) &&
         moe.num_experts > 1 &&  // Jamba takes one expert for a dense MLP
         (!dense || moe.d_ff == c.mlp.d_ff);
}

nlohmann::json write_jamba(const ModelConfig& c) {
  const std::string stack = c.stack();
  const auto layers = static_cast<int64_t>(stack.size() / 2);
  const bool experts = stack_holds(stack, kExperts);
  const bool attention = stack_holds(stack, kAttention);
  const JambaLayers where = *jamba_layers(stack);
  nlohmann::json out = {
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
      {"expert_layer_period", where.experts.period},
      {"expert_layer_offset", where.experts.offset},
      {"attn_layer_period", where.attention.period},
      {"attn_layer_offset", where.attention.offset},
      {"use_mamba_kernels", false},  // transformers 4 fails on a CPU with true; 5 ignores it
      {"use_cache", attention}};     // transformers 5.23 fails to make a cache for Jamba without attention
  if (attention) {
    out["num_attention_heads"] = c.attention.num_heads;
    out["num_key_value_heads"] = c.kv_heads();
  }
  return out;
}

HfNames jamba_names(const ModelConfig& c) {
  return {.embedding = "model.embed_tokens.weight",
          .final_norm = "model.final_layernorm.weight",
          .norm =
              [](int i) {
                return fmt::format("model.layers.{}.{}.weight", i / 2,
                                   i % 2 == 0 ? "input_layernorm" : "pre_ff_layernorm");
              },
          .block =
              [stack = c.stack()](int i) {
                const bool attention = stack[static_cast<size_t>(i)] == kAttention;
                const char* mixer = attention ? "self_attn" : "mamba";
                return fmt::format("model.layers.{}.{}.", i / 2, i % 2 == 0 ? mixer : "feed_forward");
              }};
}

}  // namespace

HfFamily jamba_family() {
  return {.model_type = "jamba",
          .name = "JambaForCausalLM",
          .reads = "JambaForCausalLM",
          .read = read_jamba,
          .expresses = jamba_expresses,
          .write = write_jamba,
          .names = jamba_names};
}

}  // namespace natrix
