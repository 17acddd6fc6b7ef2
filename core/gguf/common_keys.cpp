#include "core/gguf/common_keys.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "configs/schema/model_bounds.h"
#include "kernels/base/check.h"

namespace natrix::gguf {
namespace {

constexpr double kMostTheta = 1e18, kMostFactor = 1e9;

}  // namespace

int64_t visit_sizes(const GgufKeys& keys, ModelConfig& c, int64_t layers) {
  keys.integer("block_count", layers, 1, kMostLayers / 2);
  keys.constant("context_length", keys.context());
  keys.constant("embedding_length", c.d_model);
  keys.constant("vocab_size", c.vocab_size.value_or(0));
  if (keys.reading() && keys.has("nextn_predict_layers")) {
    int64_t further = 0;
    keys.integer("nextn_predict_layers", further, 0, layers - 1);
    layers -= further;
  }
  return layers;
}

void visit_norm_eps(const GgufKeys& keys, ModelConfig& c) {
  keys.number("attention.layer_norm_rms_epsilon", c.norm_eps, kLeastEps, kMostEps);
}

void visit_mamba1(const GgufKeys& keys, ModelConfig& c) {
  MambaConfig& m = c.mamba;
  int64_t inner = c.d_inner(), rank = c.dt_rank();
  keys.integer("ssm.conv_kernel", m.d_conv, 1, kMostTaps);
  keys.integer("ssm.inner_size", inner, 1, kMostWidth * kMostExpand);
  keys.integer("ssm.state_size", m.d_state, 1, kMostStates);
  keys.integer("ssm.time_step_rank", rank, 1, kMostWidth);
  if (!keys.reading()) return;
  if (inner % c.d_model != 0 || inner / c.d_model > kMostExpand)
    keys.fail("ssm.inner_size", fmt::format("a multiple of the model's width, {}", c.d_model));
  m.expand = inner / c.d_model;
  m.dt_rank = rank;
  m.conv_bias = keys.any_layer_has("ssm_conv1d.bias");
  m.proj_bias = keys.any_layer_has("ssm_in.bias");
}

void visit_mamba2(const GgufKeys& keys, ModelConfig& c) {
  Mamba2Config& m = c.mamba2;
  int64_t heads = c.mamba2_heads(), inner = heads * m.head_dim;
  keys.integer("ssm.conv_kernel", m.d_conv, 1, kMostTaps);
  keys.integer("ssm.inner_size", inner, 1, kMostWidth);
  keys.integer("ssm.state_size", m.d_state, 1, kMostStates);
  keys.integer("ssm.time_step_rank", heads, 1, kMostWidth);  // the name is Mamba-1's
  keys.integer("ssm.group_count", m.n_groups, 1, kMostWidth);
  if (!keys.reading()) return;
  if (inner % heads != 0)
    keys.fail("ssm.inner_size", fmt::format("a multiple of ssm.time_step_rank, {}", heads));
  if (heads % m.n_groups != 0)
    keys.fail("ssm.group_count", fmt::format("a divisor of ssm.time_step_rank, {}", heads));
  m.num_heads = heads;
  m.head_dim = inner / heads;
  m.expand = std::clamp(inner / c.d_model, int64_t{1}, kMostExpand);
  m.conv_bias = keys.any_layer_has("ssm_conv1d.bias");
  m.proj_bias = keys.any_layer_has("ssm_in.bias");
}

void visit_attention(const GgufKeys& keys, std::vector<bool>& has_attention, bool explicit_head_dim,
                     ModelConfig& c) {
  AttentionConfig& a = c.attention;
  const auto layers = static_cast<int64_t>(has_attention.size());
  std::vector<int64_t> kv(has_attention.size());
  for (size_t i = 0; i < kv.size(); ++i) kv[i] = has_attention[i] ? c.kv_heads() : 0;
  keys.for_all_layers("attention.head_count", layers, a.num_heads, 1, kMostWidth);
  keys.per_layer("attention.head_count_kv", kv, 0, kMostWidth);
  const int64_t most = *std::ranges::max_element(kv);
  if (keys.reading()) {
    for (size_t i = 0; i < kv.size(); ++i) has_attention[i] = kv[i] > 0;
    const bool uniform = std::ranges::all_of(kv, [&](int64_t heads) { return heads == 0 || heads == most; });
    if (!uniform || (most > 0 && a.num_heads % most != 0))
      keys.fail(
          "attention.head_count_kv",
          fmt::format("the same divisor of attention.head_count, {}, in all layers, or 0", a.num_heads));
    a.num_kv_heads = most;
    if (most == 0) a.num_heads = *(a.num_kv_heads = 1);  // there is no attention, so nothing has to fit
  }
  if (!explicit_head_dim) {
    if (keys.reading() && c.d_model % a.num_heads != 0)
      keys.fail("attention.head_count", fmt::format("a divisor of the model's width, {}", c.d_model));
    return;
  }
  int64_t channels = keys.reading() ? 0 : c.attention_head_dim();
  if (keys.reading() && !keys.has("attention.key_length") && c.d_model % a.num_heads != 0)
    keys.fail("attention.head_count", fmt::format("a divisor of the model's width, {}", c.d_model));
  keys.integer("attention.key_length", channels, 1, kMostWidth, c.d_model / a.num_heads);
  if (keys.reading()) a.head_dim = channels;
  keys.integer("attention.value_length", channels, 1, kMostWidth, channels);
  if (keys.reading() && channels != *a.head_dim)
    keys.fail("attention.value_length", fmt::format("attention.key_length, {}", *a.head_dim));
}

void visit_rope(const GgufKeys& keys, ModelConfig& c) {
  AttentionConfig& a = c.attention;
  if (keys.reading()) a.rope = Rope::kDefault;
  keys.number("rope.freq_base", a.rope_theta, 1e-6, kMostTheta, 10000);
  if (!keys.reading()) {
    if (a.rope != Rope::kLinear) return;
    std::string kind = "linear";
    keys.text("rope.scaling.type", kind);
    keys.number("rope.scaling.factor", a.rope_factor, 1e-6, kMostFactor);
    return;
  }
  std::string kind = "none";
  if (keys.has("rope.scaling.type")) keys.text("rope.scaling.type", kind);
  if (kind != "none" && kind != "linear") keys.fail("rope.scaling.type", R"("none" or "linear")");
  if (kind != "linear" || !keys.has("rope.scaling.factor")) return;
  keys.number("rope.scaling.factor", a.rope_factor, 1e-6, kMostFactor);
  if (a.rope_factor != 1) a.rope = Rope::kLinear;
}

std::vector<bool> attention_layers(const ModelConfig& c) {
  const std::string stack = c.stack();
  std::vector<bool> layers(stack.size() / 2);
  for (size_t i = 0; i < layers.size(); ++i) layers[i] = stack[2 * i] == '*';
  return layers;
}

bool has(const ModelConfig& c, char letter) {
  return c.pattern.find(letter) != std::string::npos;
}

void add_matrix(Rules& rules, const std::string& gguf, const std::string& hf, bool biased) {
  rules.push_back({.gguf = gguf + ".weight", .hf = hf + ".weight"});
  if (biased) rules.push_back({.gguf = gguf + ".bias", .hf = hf + ".bias"});
}

void add_mamba1(Rules& rules, const std::string& hf, const ModelConfig& c) {
  add_matrix(rules, "ssm_in", hf + "in_proj", c.mamba.proj_bias);
  rules.push_back({.gguf = "ssm_conv1d.weight", .hf = hf + "conv1d.weight", .form = TensorRule::Form::kConv});
  if (c.mamba.conv_bias) rules.push_back({.gguf = "ssm_conv1d.bias", .hf = hf + "conv1d.bias"});
  add_matrix(rules, "ssm_x", hf + "x_proj");
  add_matrix(rules, "ssm_dt", hf + "dt_proj", true);
  rules.push_back({.gguf = "ssm_a", .hf = hf + "A_log", .form = TensorRule::Form::kDecay});
  rules.push_back({.gguf = "ssm_d", .hf = hf + "D"});
  add_matrix(rules, "ssm_out", hf + "out_proj", c.mamba.proj_bias);
}

void add_mamba2(Rules& rules, const std::string& hf, const ModelConfig& c) {
  add_matrix(rules, "ssm_in", hf + "in_proj", c.mamba2.proj_bias);
  rules.push_back({.gguf = "ssm_conv1d.weight", .hf = hf + "conv1d.weight", .form = TensorRule::Form::kConv});
  if (c.mamba2.conv_bias) rules.push_back({.gguf = "ssm_conv1d.bias", .hf = hf + "conv1d.bias"});
  rules.push_back({.gguf = "ssm_dt.bias", .hf = hf + "dt_bias"});
  rules.push_back({.gguf = "ssm_a", .hf = hf + "A_log", .form = TensorRule::Form::kDecayColumn});
  rules.push_back({.gguf = "ssm_d", .hf = hf + "D", .form = TensorRule::Form::kColumn});
  if (c.mamba2.norm) {
    rules.push_back({.gguf = "ssm_norm.weight",
                     .hf = hf + "norm.weight",
                     .form = TensorRule::Form::kGroups,
                     .groups = c.mamba2.n_groups});
  }
  add_matrix(rules, "ssm_out", hf + "out_proj", c.mamba2.proj_bias);
}

void add_attention(Rules& rules, const std::string& hf, int64_t turning, const ModelConfig& c) {
  const bool biased = c.attention.proj_bias;
  add_matrix(rules, "attn_q", hf + "q_proj", biased);
  add_matrix(rules, "attn_k", hf + "k_proj", biased);
  for (TensorRule& rule : rules) {
    const bool q = rule.gguf.starts_with("attn_q."), k = rule.gguf.starts_with("attn_k.");
    if (turning == 0 || (!q && !k)) continue;
    rule.form = TensorRule::Form::kTurned;
    rule.heads = q ? c.attention.num_heads : c.kv_heads();
    rule.turning = turning;
  }
  add_matrix(rules, "attn_v", hf + "v_proj", biased);
  add_matrix(rules, "attn_output", hf + "o_proj", biased);
}

void add_gated_mlp(Rules& rules, const std::string& hf) {
  for (const char* part : {"gate", "up", "down"})
    add_matrix(rules, fmt::format("ffn_{}", part), hf + part + "_proj");
}

void scale(Rules& rules, const std::string& gguf, const std::vector<RowFactor>& factors) {
  if (std::ranges::all_of(factors, [](const RowFactor& f) { return f.factor == 1; })) return;
  const auto rule = std::ranges::find(rules, gguf, &TensorRule::gguf);
  require(rule != rules.end(), "a tensor is scaled that the architecture does not have");
  rule->factors = factors;
}

std::string mamba2_beyond(const ModelConfig& c) {
  const Mamba2Config& m = c.mamba2;
  if (m.proj_bias) return "llama.cpp has no biases of in_proj and out_proj";
  if (m.dt_min != 0 || std::isfinite(m.dt_max))
    return "llama.cpp does not limit the time step (time_step_limit)";
  if (m.norm_before_gate) return "llama.cpp has no norm before the gate";
  return {};
}

}  // namespace natrix::gguf
