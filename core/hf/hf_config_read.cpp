// config.json → ModelConfig. Absent keys take the defaults of the HF class,
// except for sizes, which must be there.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/hf/hf_formats.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

// Far above any real model, and low enough that no product of two extents overflows;
// check_size() bounds the rest.
constexpr int64_t kMostLayers = 100'000;
constexpr int64_t kMostWidth = int64_t{1} << 24;
constexpr int64_t kMostVocabulary = int64_t{1} << 31;
constexpr int64_t kMostExperts = 65'536;
constexpr int64_t kMostStates = 65'536;
constexpr int64_t kMostTaps = 1'024;
constexpr int64_t kMostExpand = 1'024;
constexpr double kMostParameters = 1e15;
constexpr double kMostTensors = 1e7;

constexpr double kLeastEps = 1e-15, kMostEps = 1.0;

constexpr std::string_view kSupported =
    "MambaForCausalLM, JambaForCausalLM without attention layers, and what natrix itself saves";

/// The shortest pattern that gives `stack`, and how often it repeats.
void set_stack(ModelConfig& c, const std::string& stack) {
  const size_t n = stack.size();
  for (size_t unit = 1; unit <= n; ++unit) {
    if (n % unit != 0 || stack.compare(unit, n - unit, stack, 0, n - unit) != 0) continue;
    c.pattern = stack.substr(0, unit);
    c.repeat = static_cast<int64_t>(n / unit);
    return;
  }
}

std::optional<int64_t> dt_rank(const JsonObject& j, const std::string& key, int64_t d_model) {
  if (!j.has(key) || (j.at(key).is_string() && j.text(key) == "auto")) return (d_model + 15) / 16;
  return j.integer(key, 1, kMostWidth);
}

void expect_silu(const JsonObject& j) {
  if (j.text("hidden_act", "silu") != "silu") j.fail("hidden_act", "\"silu\"");
}

ModelConfig from_mamba(const JsonObject& j) {
  ModelConfig c;
  set_stack(c, std::string(static_cast<size_t>(j.integer("num_hidden_layers", 1, kMostLayers)), 'M'));
  c.d_model = j.integer("hidden_size", 1, kMostWidth);
  c.vocab_size = j.integer("vocab_size", 1, kMostVocabulary);
  c.tie_embeddings = j.boolean("tie_word_embeddings", true);
  c.norm_eps = j.number("layer_norm_epsilon", kLeastEps, kMostEps, 1e-5);
  c.mamba.d_state = j.integer("state_size", 1, kMostStates, 16);
  c.mamba.d_conv = j.integer("conv_kernel", 1, kMostTaps, 4);
  c.mamba.expand = j.integer("expand", 1, kMostExpand, 2);
  c.mamba.dt_rank = dt_rank(j, "time_step_rank", c.d_model);
  c.mamba.inner_norms = false;
  c.mamba.conv_bias = j.boolean("use_conv_bias", true);
  c.mamba.proj_bias = j.boolean("use_bias", false);
  expect_silu(j);
  if (j.integer("intermediate_size", 1, kMostWidth * kMostExpand, c.d_inner()) != c.d_inner()) {
    j.fail("intermediate_size", fmt::format("expand · hidden_size = {}", c.d_inner()));
  }
  return c;
}

void refuse_attention(const JsonObject& j, int64_t layers) {
  const int64_t period = j.integer("attn_layer_period", 1, INT64_MAX, 8);
  const int64_t offset = j.integer("attn_layer_offset", 0, INT64_MAX, 4);
  if (offset >= period) j.fail("attn_layer_offset", fmt::format("less than attn_layer_period = {}", period));
  if (offset < layers) {
    throw InputError(
        fmt::format("{}: JambaForCausalLM with attention layers is not supported yet: attn_layer_period {} "
                    "and attn_layer_offset {} "
                    "make layer {} of {} one; expected an offset of at least {}",
                    j.origin(), period, offset, offset, layers, layers));
  }
}

ModelConfig from_jamba(const JsonObject& j) {
  ModelConfig c;
  const int64_t layers = j.integer("num_hidden_layers", 1, kMostLayers / 2);
  refuse_attention(j, layers);
  c.d_model = j.integer("hidden_size", 1, kMostWidth);
  c.vocab_size = j.integer("vocab_size", 1, kMostVocabulary);
  c.tie_embeddings = j.boolean("tie_word_embeddings", false);
  c.norm_eps = j.number("rms_norm_eps", kLeastEps, kMostEps, 1e-6);
  c.mamba.d_state = j.integer("mamba_d_state", 1, kMostStates, 16);
  c.mamba.d_conv = j.integer("mamba_d_conv", 1, kMostTaps, 4);
  c.mamba.expand = j.integer("mamba_expand", 1, kMostExpand, 2);
  c.mamba.dt_rank = dt_rank(j, "mamba_dt_rank", c.d_model);
  c.mamba.inner_norms = true;
  c.mamba.conv_bias = j.boolean("mamba_conv_bias", true);
  c.mamba.proj_bias = j.boolean("mamba_proj_bias", false);
  expect_silu(j);

  const int64_t experts = j.integer("num_experts", 1, kMostExperts);
  const int64_t period = j.integer("expert_layer_period", 1, INT64_MAX, 2);
  const int64_t offset = j.integer("expert_layer_offset", 0, INT64_MAX, 1);
  if (offset >= period)
    j.fail("expert_layer_offset", fmt::format("less than expert_layer_period = {}", period));
  std::string stack;
  for (int64_t i = 0; i < layers; ++i) stack += experts > 1 && i % period == offset ? "ME" : "M-";
  set_stack(c, stack);
  c.mlp.d_ff = c.moe.d_ff = j.integer("intermediate_size", 1, kMostWidth);
  if (stack.find('E') != std::string::npos) {
    c.moe.num_experts = experts;
    c.moe.top_k = j.integer("num_experts_per_tok", 1, experts, 2);
  }
  return c;
}

template <class Enum>
Enum one_of(const JsonObject& j, const std::string& key,
            std::initializer_list<std::pair<const char*, Enum>> names) {
  const std::string found = j.text(key);
  std::string allowed;
  for (const auto& [name, value] : names) {
    if (found == name) return value;
    allowed += fmt::format("{}\"{}\"", allowed.empty() ? "" : ", ", name);
  }
  j.fail(key, "one of " + allowed);
}

MlpActivation activation(const JsonObject& j) {
  return one_of<MlpActivation>(j, "activation",
                               {{"swiglu", MlpActivation::kSwiglu},
                                {"geglu", MlpActivation::kGeglu},
                                {"gelu", MlpActivation::kGelu},
                                {"relu2", MlpActivation::kRelu2}});
}

MambaConfig natrix_mamba(const JsonObject& j, int64_t d_model) {
  j.allow_only({"d_state", "d_conv", "expand", "dt_rank", "inner_norms", "conv_bias", "proj_bias"});
  MambaConfig m;
  m.d_state = j.integer("d_state", 1, kMostStates);
  m.d_conv = j.integer("d_conv", 1, kMostTaps);
  m.expand = j.integer("expand", 1, kMostExpand);
  m.dt_rank = dt_rank(j, "dt_rank", d_model);
  m.inner_norms = j.boolean("inner_norms");
  m.conv_bias = j.boolean("conv_bias");
  m.proj_bias = j.boolean("proj_bias");
  return m;
}

MoeConfig natrix_moe(const JsonObject& j) {
  j.allow_only({"num_experts", "top_k", "d_ff", "activation", "router", "renormalize", "shared_experts",
                "capacity_factor", "aux_loss_coef", "z_loss_coef", "bias_update_rate"});
  constexpr double kMostCoefficient = 1e6;
  MoeConfig m;
  m.num_experts = j.integer("num_experts", 1, kMostExperts);
  m.top_k = j.integer("top_k", 1, m.num_experts);
  m.d_ff = j.integer("d_ff", 1, kMostWidth);
  m.activation = activation(j);
  m.router = one_of<Router>(j, "router", {{"softmax", Router::kSoftmax}, {"sigmoid", Router::kSigmoid}});
  m.renormalize = j.boolean("renormalize");
  m.shared_experts = j.integer("shared_experts", 0, kMostExperts);
  if (!j.at("capacity_factor").is_null()) {
    m.capacity_factor = j.number("capacity_factor", 1e-6, kMostCoefficient);
  }
  m.aux_loss_coef = j.number("aux_loss_coef", 0, kMostCoefficient);
  m.z_loss_coef = j.number("z_loss_coef", 0, kMostCoefficient);
  m.bias_update_rate = j.number("bias_update_rate", 0, kMostCoefficient);
  return m;
}

ModelConfig from_natrix(const JsonObject& whole) {
  const JsonObject j = whole.object("natrix");
  j.allow_only(
      {"pattern", "repeat", "d_model", "vocab_size", "tie_embeddings", "norm_eps", "mamba", "mlp", "moe"});
  ModelConfig c;
  c.pattern = j.text("pattern");
  if (c.pattern.empty() || c.pattern.find_first_not_of("ME-") != std::string::npos) {
    j.fail("pattern", "the letters M (Mamba-1), E (MoE) and - (dense MLP)");
  }
  const auto letters = static_cast<int64_t>(c.pattern.size());
  if (letters > kMostLayers) j.fail("pattern", fmt::format("at most {} letters", kMostLayers));
  c.repeat = j.integer("repeat", 1, kMostLayers / letters);
  c.d_model = j.integer("d_model", 1, kMostWidth);
  c.vocab_size = j.integer("vocab_size", 1, kMostVocabulary);
  c.tie_embeddings = j.boolean("tie_embeddings");
  c.norm_eps = j.number("norm_eps", kLeastEps, kMostEps);
  c.mamba = natrix_mamba(j.object("mamba"), c.d_model);
  const JsonObject mlp = j.object("mlp");
  mlp.allow_only({"d_ff", "activation"});
  c.mlp = {mlp.integer("d_ff", 1, kMostWidth), activation(mlp)};
  c.moe = natrix_moe(j.object("moe"));
  return c;
}

// In doubles, which do not overflow: a wrong config.json must end here and not in the allocator.
void check_size(const ModelConfig& c, const std::string& origin) {
  const auto d = static_cast<double>(c.d_model);
  const double di = d * static_cast<double>(c.mamba.expand);
  const double mamba =
      di * (3 * d + static_cast<double>(2 * c.dt_rank() + 3 * c.mamba.d_state + c.mamba.d_conv));
  const double experts = static_cast<double>(c.moe.num_experts + c.moe.shared_experts);
  double parameters = 2 * d * static_cast<double>(c.vocab_size.value_or(0));
  double tensors = 3;
  for (const char letter : c.stack()) {
    switch (letter) {
      case 'M': parameters += mamba, tensors += 13; break;
      case 'E':
        parameters += 3 * d * static_cast<double>(c.moe.d_ff) * experts, tensors += 3 * experts + 2;
        break;
      default: parameters += 3 * d * static_cast<double>(c.mlp.d_ff), tensors += 4;
    }
  }
  if (parameters > kMostParameters || tensors > kMostTensors) {
    throw InputError(
        fmt::format("{}: describes a model of about {:.2g} parameters in {:.2g} tensors; expected at most "
                    "{:g} in {:g}",
                    origin, parameters, tensors, kMostParameters, kMostTensors));
  }
}

[[noreturn]] void refuse(const JsonObject& j, const std::string& model_type) {
  std::string name = fmt::format("model_type {}", excerpt(model_type));
  if (j.has("architectures") && j.at("architectures").is_array() && !j.at("architectures").empty() &&
      j.at("architectures")[0].is_string()) {
    name = fmt::format("{} ({})", excerpt(j.at("architectures")[0].get<std::string>()), name);
  }
  throw InputError(fmt::format("{}: {} is not supported; expected {}", j.origin(), name, kSupported));
}

}  // namespace

ModelConfig parse_hf_config(std::string_view text, const std::string& origin) {
  const nlohmann::json json = parse_json(text, origin, NonFinite::kTagged);
  const JsonObject j(json, origin);
  const std::string model_type = j.text("model_type");
  ModelConfig c;
  if (model_type == "mamba") {
    c = from_mamba(j);
  } else if (model_type == "jamba") {
    c = from_jamba(j);
  } else if (model_type == "natrix") {
    c = from_natrix(j);
  } else {
    refuse(j, model_type);
  }
  check_size(c, origin);
  return c;
}

ModelConfig read_hf_config(const std::string& dir) {
  const std::string path = dir + "/config.json";
  return parse_hf_config(MappedFile(path).text(), path);
}

}  // namespace natrix
