// NemotronHForCausalLM (Nemotron-H, Nemotron-3): one mixer a layer: Mamba-2, attention without positions, a
// mixture of experts or a dense MLP. Squared ReLU without a gate, sigmoid routing with a selection bias,
// choice within groups of experts, one shared expert, optionally experts of latent rows.
//
// transformers 5.24 raises Δ to time_step_min when it reads several tokens, whatever time_step_limit says. The
// published models were trained without that floor, and natrix has none.
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/attention_keys.h"
#include "core/hf/families.h"
#include "core/hf/mamba2_keys.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

const std::vector<hf::LayerName>& nemotron_layers() {  // the first name of a letter is written
  static const std::vector<hf::LayerName> names = {
      {"linear_attention", 'S'}, {"full_attention", '*'}, {"moe", 'E'}, {"mlp", '-'}, {"mamba", 'S'},
      {"attention", '*'}};
  return names;
}

std::string stack_of_override(const JsonObject& j) {
  const std::string key = "hybrid_override_pattern";
  std::string stack = j.text(key);
  if (stack.empty() || stack.size() > static_cast<size_t>(kMostLayers) ||
      stack.find_first_not_of("ME*-") != std::string::npos)
    j.fail(key, "letters out of M (Mamba-2), E (experts), * (attention) and - (MLP)");
  std::ranges::replace(stack, 'M', 'S');
  return stack;
}

std::string nemotron_stack(const JsonObject& j) {
  const bool overridden = hf::given(j, "hybrid_override_pattern");
  std::string stack;
  for (const char* key : {"layers_block_type", "layer_types"}) {
    if (!hf::given(j, key)) continue;
    stack = hf::letters_of(j, key, nemotron_layers());
    if (overridden && stack != stack_of_override(j))
      j.fail("hybrid_override_pattern", fmt::format("the layers of {}", key));
    break;
  }
  if (stack.empty() && !overridden)
    throw InputError(fmt::format(
        "{}: key \"layers_block_type\" is missing, and so is \"hybrid_override_pattern\"", j.origin()));
  if (stack.empty()) stack = stack_of_override(j);
  if (hf::given(j, "num_hidden_layers") &&
      j.integer("num_hidden_layers", 1, kMostLayers) != static_cast<int64_t>(stack.size()))
    j.fail("num_hidden_layers", fmt::format("the number of listed layers, {}", stack.size()));
  return stack;
}

void read_nemotron_experts(const JsonObject& j, ModelConfig& c) {
  MoeConfig& e = c.moe;
  e.num_experts = j.integer("n_routed_experts", 1, kMostExperts, 8);
  e.top_k = j.integer("num_experts_per_tok", 1, e.num_experts, 2);
  e.d_ff = j.integer("moe_intermediate_size", 1, kMostWidth);
  e.activation = MlpActivation::kRelu2;
  e.router = Router::kSigmoid;
  e.renormalize = j.boolean("norm_topk_prob", true);
  e.routed_scaling = hf::multiplier(j, "routed_scaling_factor");
  e.selection_bias = true;
  e.groups = j.integer("n_group", 1, e.num_experts, 1);
  e.top_groups = j.integer("topk_group", 1, e.groups, 1);
  if (e.num_experts % e.groups != 0)
    j.fail("n_group", fmt::format("a divisor of n_routed_experts = {}", e.num_experts));
  const int64_t a_group = e.num_experts / e.groups;
  if (e.top_groups < e.groups && a_group < 2)
    j.fail("n_group", "groups of at least two experts, or topk_group equal to it");
  if (e.top_k > e.top_groups * a_group)
    j.fail("num_experts_per_tok", fmt::format("at most the {} experts of topk_group = {} groups",
                                              e.top_groups * a_group, e.top_groups));
  if (hf::given(j, "moe_latent_size")) e.latent = j.integer("moe_latent_size", 1, kMostWidth);
  e.shared_experts = j.integer("n_shared_experts", 1, 1, 1);
  e.shared_d_ff = j.integer("moe_shared_expert_intermediate_size", 1, kMostWidth);
}

/// Names that the class takes too, and replaces in what it saves.
constexpr std::pair<const char*, const char*> kOlderNames[] = {
    {"mamba_n_groups", "n_groups"},       {"mamba_d_conv", "conv_kernel"},
    {"mamba_expand", "expand"},           {"mamba_dt_limit", "time_step_limit"},
    {"mamba_conv_bias", "use_conv_bias"}, {"mamba_chunk_size", "chunk_size"}};

void refuse_other_nemotrons(const JsonObject& j, const ModelConfig& c) {
  for (const auto& [older, name] : kOlderNames) {
    if (hf::given(j, older))
      j.fail(older, fmt::format("the key under its name of transformers 5, \"{}\"", name));
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) hf::expect_false(j, key);
  if (!c.mamba2.proj_bias) hf::expect_false(j, "mamba_proj_bias");
  hf::expect_null(j, "sliding_window");
  hf::expect_silu(j, "mamba_hidden_act");
  if (j.text("mlp_hidden_act", "relu2") != "relu2") j.fail("mlp_hidden_act", "\"relu2\"");
  if (c.tie_embeddings) j.fail("tie_word_embeddings", "false: the class never ties them");
}

ModelConfig read_nemotron_h(const JsonObject& j) {
  ModelConfig c;
  hf::set_stack(c, nemotron_stack(j));
  hf::read_common(j, false, c);
  c.norm_eps = j.number("layer_norm_epsilon", kLeastEps, kMostEps, 1e-5);
  Mamba2Config defaults;
  defaults.num_heads = 128;
  defaults.n_groups = 8;
  if (hf::stack_holds(c, 'S')) hf::read_mamba2(j, hf::kNemotronSpelling, defaults, {}, c);
  if (hf::stack_holds(c, '*')) {
    hf::read_attention(j, 8, true, c);
    if (!hf::given(j, "head_dim")) c.attention.head_dim = j.integer("attention_head_dim", 1, kMostWidth, 128);
  }
  if (hf::stack_holds(c, '-')) c.mlp.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  c.mlp.activation = MlpActivation::kRelu2;
  if (hf::stack_holds(c, 'E')) read_nemotron_experts(j, c);
  refuse_other_nemotrons(j, c);
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

bool nemotron_h_expresses(const ModelConfig& c) {
  if (c.pattern.empty() || c.pattern.find_first_not_of("S*E-") != std::string::npos) return false;
  if (c.tie_embeddings || !hf::plain_stream(c) || !hf::plain_mixers(c)) return false;
  const AttentionConfig& a = c.attention;
  if (hf::stack_holds(c, '*') && (a.rope != Rope::kNone || a.scale || a.window || a.proj_bias)) return false;
  if (hf::stack_holds(c, 'S') && (!c.mamba2.norm || c.mamba2.norm_before_gate)) return false;
  if (hf::stack_holds(c, '-') && c.mlp.activation != MlpActivation::kRelu2) return false;
  const MoeConfig& e = c.moe;
  return !hf::stack_holds(c, 'E') || (e.activation == MlpActivation::kRelu2 && e.router == Router::kSigmoid &&
                                      e.selection_bias && e.shared_experts == 1);
}

void write_nemotron_experts(const ModelConfig& c, nlohmann::json& out) {
  const MoeConfig& e = c.moe;
  out.update({{"n_routed_experts", e.num_experts},
              {"num_experts_per_tok", e.top_k},
              {"moe_intermediate_size", e.d_ff},
              {"norm_topk_prob", e.renormalize},
              {"routed_scaling_factor", e.routed_scaling},
              {"n_group", e.groups},
              {"topk_group", e.top_groups},
              {"moe_latent_size", e.latent ? nlohmann::json(*e.latent) : nlohmann::json()},
              {"n_shared_experts", 1},
              {"moe_shared_expert_intermediate_size", e.shared_d_ff.value_or(e.d_ff)}});
}

nlohmann::json write_nemotron_h(const ModelConfig& c) {
  std::vector<std::string> layers;
  for (const char letter : c.stack())
    layers.emplace_back(std::ranges::find(nemotron_layers(), letter, &hf::LayerName::letter)->name);
  nlohmann::json out = {{"architectures", {"NemotronHForCausalLM"}},
                        {"model_type", "nemotron_h"},
                        {"layers_block_type", layers},
                        {"layer_norm_epsilon", c.norm_eps},
                        {"mamba_hidden_act", "silu"},
                        {"mlp_hidden_act", "relu2"},
                        {"mlp_bias", false},
                        {"use_cache", true}};
  if (hf::stack_holds(c, 'S')) out.update(hf::mamba2_json(hf::kNemotronSpelling, c));
  if (hf::stack_holds(c, '*')) out.update(hf::attention_json(true, c));
  if (hf::stack_holds(c, '-')) out["intermediate_size"] = c.mlp.d_ff;
  if (hf::stack_holds(c, 'E')) write_nemotron_experts(c, out);
  return out;
}

HfNames nemotron_h_names(const ModelConfig&) {
  return {.embedding = "backbone.embeddings.weight",
          .final_norm = "backbone.norm_f.weight",
          .norm = [](int i) { return fmt::format("backbone.layers.{}.norm.weight", i); },
          .block = [](int i) { return fmt::format("backbone.layers.{}.mixer.", i); }};
}

std::optional<FileSlice> nemotron_h_slice(const ModelConfig&, const ParamPart& part) {
  constexpr std::string_view kOurs = ".mixer.router.";
  const size_t at = part.name.find(kOurs);
  if (at == std::string::npos) return std::nullopt;
  return FileSlice{.name = part.name.substr(0, at) + ".mixer.gate." + part.name.substr(at + kOurs.size()),
                   .shape = part.shape};
}

}  // namespace

HfFamily nemotron_h_family() {
  return {.model_type = "nemotron_h",
          .name = "NemotronHForCausalLM",
          .reads = "NemotronHForCausalLM",
          .read = read_nemotron_h,
          .expresses = nemotron_h_expresses,
          .write = write_nemotron_h,
          .names = nemotron_h_names,
          .slice = nemotron_h_slice,
          // Layers that predict several tokens at once; transformers leaves them too.
          .ignores = [](std::string_view tensor) { return tensor.starts_with("mtp."); }};
}

}  // namespace natrix
