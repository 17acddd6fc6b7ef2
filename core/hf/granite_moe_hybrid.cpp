// GraniteMoeHybridForCausalLM (Granite 4): layers of a Mamba-2 mixer or of attention, and a SwiGLU MLP that is
// always active, beside which there may be a mixture of experts: the k largest logits, and softmax over those.
// Multipliers of the embedding, of every sublayer's output, of the scores and of the logits.
//
// A layer is two sublayers of the stack. The matrices of all experts lie in two tensors: input_linear
// [E, 2f, d], where an expert's gate comes before its up, and output_linear [E, d, f]. Those of the MLP that is
// always active, shared_mlp, are merged in the same way.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/attention_keys.h"
#include "core/hf/families.h"
#include "core/hf/mamba2_keys.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

constexpr std::string_view kExpertsBlock = "block_sparse_moe.", kDenseBlock = "shared_mlp.";

std::string granite_mixers(const JsonObject& j, int64_t layers) {
  static const std::vector<hf::LayerName> names = {
      {"linear_attention", 'S'}, {"full_attention", '*'}, {"mamba", 'S'}, {"attention", '*'}};
  for (const char* key : {"layer_types", "layers_block_type"}) {
    if (hf::given(j, key)) return hf::letters_of(j, key, names, layers);
  }
  return std::string(static_cast<size_t>(layers), 'S');
}

void read_granite_attention(const JsonObject& j, ModelConfig& c) {
  c.attention.scale = hf::given(j, "attention_multiplier") ? j.number("attention_multiplier", 1e-9, 1e9) : 1;
  const std::string positions =
      hf::given(j, "position_embedding_type") ? j.text("position_embedding_type") : "nope";
  if (positions != "rope" && positions != "nope")
    j.fail("position_embedding_type", R"("rope", "nope" or null)");
  if (!hf::stack_holds(c, '*')) return;
  hf::read_attention(j, 0, false, c);
  if (positions == "rope") hf::read_rope(j, 1, true, c);
}

void read_granite_mlps(const JsonObject& j, int64_t experts, ModelConfig& c) {
  const int64_t shared = j.integer("shared_intermediate_size", 1, kMostWidth, 1024);
  c.mlp.d_ff = shared;
  if (experts == 0) return;
  MoeConfig& e = c.moe;
  e.num_experts = experts;
  e.top_k = j.integer("num_experts_per_tok", 1, experts, 2);
  e.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  e.renormalize = true;  // softmax over the chosen logits is the renormalised softmax over all
  e.shared_experts = 1;
  e.shared_d_ff = shared;
}

ModelConfig read_granite(const JsonObject& j) {
  ModelConfig c;
  const int64_t layers = j.integer("num_hidden_layers", 1, kMostLayers / 2);
  const int64_t experts = j.integer("num_local_experts", 0, kMostExperts, 8);
  std::string stack;
  for (const char mixer : granite_mixers(j, layers)) stack += {mixer, experts > 0 ? 'E' : '-'};
  hf::set_stack(c, stack);
  hf::read_common(j, false, c);
  c.norm_eps = j.number("rms_norm_eps", kLeastEps, kMostEps, 1e-6);
  const Mamba2Config defaults = hf::hybrid_mamba2_defaults();
  if (hf::stack_holds(c, 'S'))
    hf::read_mamba2(j, hf::kHybridSpelling, defaults,
                    hf::expanded_width(j, hf::kHybridSpelling, defaults, c.d_model), c);
  read_granite_attention(j, c);
  read_granite_mlps(j, experts, c);
  c.embedding_multiplier = hf::multiplier(j, "embedding_multiplier");
  c.residual_multiplier = hf::multiplier(j, "residual_multiplier");
  c.logits_multiplier =
      1 /
      (hf::given(j, "logits_scaling") ? j.number("logits_scaling", 1 / kMostMultiplier, kMostMultiplier) : 1);
  hf::expect_silu(j);
  hf::expect_null(j, "sliding_window");
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

bool granite_expresses(const ModelConfig& c) {
  const std::string stack = c.stack();
  if (stack.empty() || stack.size() % 2 != 0) return false;
  const char mlp = stack[1];
  if (mlp != 'E' && mlp != '-') return false;
  for (size_t i = 0; i < stack.size(); i += 2) {
    if ((stack[i] != 'S' && stack[i] != '*') || stack[i + 1] != mlp) return false;
  }
  const AttentionConfig& a = c.attention;
  const bool turns = a.rope != Rope::kNone;
  const bool attention_fits = !a.window && hf::heads_divide_width(c) && (!turns || a.rope_fraction == 1);
  if (hf::stack_holds(c, '*') && !attention_fits) return false;
  if (hf::stack_holds(c, 'S') && (!c.mamba2.norm || c.mamba2.norm_before_gate || !hf::heads_fill_width(c)))
    return false;
  if (!hf::plain_mixers(c) || c.logits_multiplier <= 0) return false;
  // The class always has a scale of its own, which tells a dense model from Bamba's.
  if (mlp == '-') return a.scale.has_value() && c.mlp.activation == MlpActivation::kSwiglu;
  const MoeConfig& e = c.moe;
  return (a.scale || !hf::stack_holds(c, '*')) && e.activation == MlpActivation::kSwiglu &&
         e.router == Router::kSoftmax && e.renormalize && e.shared_experts == 1 && hf::plain_routing(e);
}

/// The number of few digits of which `multiplier` is the inverse.
double inverse_of(double multiplier) {
  const double rounded = std::stod(fmt::format("{:.14g}", 1 / multiplier));
  return 1 / rounded == multiplier ? rounded : 1 / multiplier;
}

nlohmann::json write_granite(const ModelConfig& c) {
  const std::string stack = c.stack();
  const bool experts = stack[1] == 'E';
  const int64_t shared = experts ? c.moe.shared_d_ff.value_or(c.moe.d_ff) : c.mlp.d_ff;
  std::vector<std::string> layers;
  for (size_t i = 0; i < stack.size(); i += 2)
    layers.emplace_back(stack[i] == '*' ? "full_attention" : "linear_attention");
  const bool turns = hf::stack_holds(c, '*') && c.attention.rope != Rope::kNone;
  nlohmann::json out = {{"architectures", {"GraniteMoeHybridForCausalLM"}},
                        {"model_type", "granitemoehybrid"},
                        {"num_hidden_layers", layers.size()},
                        {"layer_types", layers},
                        {"rms_norm_eps", c.norm_eps},
                        {"hidden_act", "silu"},
                        {"num_local_experts", experts ? c.moe.num_experts : 0},
                        {"num_experts_per_tok", experts ? c.moe.top_k : 0},
                        {"intermediate_size", experts ? c.moe.d_ff : shared},
                        {"shared_intermediate_size", shared},
                        {"embedding_multiplier", c.embedding_multiplier},
                        {"residual_multiplier", c.residual_multiplier},
                        {"attention_multiplier", c.attention.scale.value_or(1)},
                        {"logits_scaling", inverse_of(c.logits_multiplier)},
                        {"position_embedding_type", turns ? nlohmann::json("rope") : nlohmann::json()},
                        {"use_cache", true}};
  out.update(hf::mamba2_json(hf::kHybridSpelling, c));
  out.update(hf::attention_json(false, c));
  if (turns) out["rope_parameters"] = hf::rope_json(1, c);
  return out;
}

HfNames granite_names(const ModelConfig& c) {
  return {.embedding = "model.embed_tokens.weight",
          .final_norm = "model.norm.weight",
          .norm =
              [](int i) {
                return fmt::format("model.layers.{}.{}.weight", i / 2,
                                   i % 2 == 0 ? "input_layernorm" : "post_attention_layernorm");
              },
          .block =
              [stack = c.stack()](int i) {
                const char letter = stack[static_cast<size_t>(i)];
                const std::string_view block = letter == '*'   ? "self_attn."
                                               : letter == 'S' ? "mamba."
                                               : letter == 'E' ? kExpertsBlock
                                                               : kDenseBlock;
                return fmt::format("model.layers.{}.{}", i / 2, block);
              }};
}

/// One matrix of `count` gated MLPs of width f, number e of them. `matrix` is such as "gate_proj.weight".
FileSlice gated_slice(const std::string& block, std::string_view matrix, const ParamPart& part,
                      std::optional<int64_t> count, int64_t e) {
  const bool down = matrix.starts_with("down_proj"), up = matrix.starts_with("up_proj");
  const int64_t rows = part.shape[0] * (down ? 1 : 2), size = part.shape.count();
  FileSlice slice{.name = block + (down ? "output_linear.weight" : "input_linear.weight"),
                  .shape = {rows, part.shape[1]},
                  .first = down ? e * size : (2 * e + (up ? 1 : 0)) * size};
  if (count) slice.shape = {*count, rows, part.shape[1]};
  return slice;
}

std::optional<FileSlice> granite_slice(const ModelConfig& c, const ParamPart& part) {
  const std::string& name = part.name;
  const size_t dense = name.find(kDenseBlock), experts = name.find(kExpertsBlock);
  if (dense != std::string::npos) {
    const std::string block = name.substr(0, dense + kDenseBlock.size());
    return gated_slice(block, std::string_view(name).substr(block.size()), part, {}, 0);
  }
  if (experts == std::string::npos) return std::nullopt;
  const std::string layer = name.substr(0, experts), block = layer + std::string(kExpertsBlock);
  const std::string_view own = std::string_view(name).substr(block.size());
  constexpr std::string_view kShared = "shared_experts.", kExpert = "experts.";
  if (own.starts_with(kShared))
    return gated_slice(layer + std::string(kDenseBlock), own.substr(kShared.size()), part, {}, 0);
  if (own.starts_with(kExpert)) {
    const size_t dot = own.find('.', kExpert.size());
    const int64_t e = std::stoll(std::string(own.substr(kExpert.size(), dot - kExpert.size())));
    return gated_slice(block, own.substr(dot + 1), part, c.moe.num_experts, e);
  }
  return FileSlice{.name = block + "router.layer.weight", .shape = part.shape};
}

}  // namespace

HfFamily granite_moe_hybrid_family() {
  return {.model_type = "granitemoehybrid",
          .name = "GraniteMoeHybridForCausalLM",
          .reads = "GraniteMoeHybridForCausalLM",
          .read = read_granite,
          .expresses = granite_expresses,
          .write = write_granite,
          .names = granite_names,
          .slice = granite_slice};
}

}  // namespace natrix
