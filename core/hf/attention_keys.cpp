#include "core/hf/attention_keys.h"

#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/base/check.h"

namespace natrix::hf {
namespace {

constexpr double kLeastPositive = 1e-6, kMostTheta = 1e18, kMostFactor = 1e9, kMostLength = 1e12;

struct RopeName {
  const char* name;
  Rope rope;
};
constexpr RopeName kRopes[] = {
    {"default", Rope::kDefault}, {"linear", Rope::kLinear}, {"llama3", Rope::kLlama3}, {"yarn", Rope::kYarn}};

double optional_number(const JsonObject& j, const std::string& key, double most, double fallback) {
  return given(j, key) ? j.number(key, kLeastPositive, most) : fallback;
}

Rope rope_type(const JsonObject& scaling) {
  const std::string key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string name = scaling.text(key, "default");
  for (const RopeName& r : kRopes) {
    if (name == r.name) return r.rope;
  }
  scaling.fail(key, R"("default", "linear", "llama3" or "yarn": natrix has no other rotary embedding)");
}

/// YaRN's magnitude, from whichever of its keys there are; nothing: the usual one for the factor.
std::optional<double> yarn_magnitude_of(const JsonObject& s, double factor) {
  if (given(s, "attention_factor")) return s.number("attention_factor", kLeastPositive, kMostMultiplier);
  const double all = given(s, "mscale_all_dim") ? s.number("mscale_all_dim", 0, kMostMultiplier) : 0;
  const double one = given(s, "mscale") ? s.number("mscale", 0, kMostMultiplier) : 0;
  if (one == 0 || all == 0) return std::nullopt;  // transformers uses the two together or not at all
  const auto scale = [&](double m) { return factor <= 1 ? 1 : 0.1 * m * std::log(factor) + 1; };
  return scale(one) / scale(all);
}

void read_scaling(const JsonObject& j, const JsonObject& s, AttentionConfig& a) {
  a.rope = rope_type(s);
  if (a.rope == Rope::kDefault) return;
  a.rope_factor = s.number("factor", kLeastPositive, kMostFactor);
  if (a.rope == Rope::kLinear) return;
  a.rope_original_length = given(s, "original_max_position_embeddings")
                               ? s.number("original_max_position_embeddings", 1, kMostLength)
                               : j.number("max_position_embeddings", 1, kMostLength);
  if (a.rope == Rope::kLlama3) {
    a.rope_low_freq_factor = s.number("low_freq_factor", kLeastPositive, kMostFactor);
    a.rope_high_freq_factor = s.number("high_freq_factor", kLeastPositive, kMostFactor);
    return;
  }
  a.rope_beta_fast = optional_number(s, "beta_fast", kMostFactor, 32);
  a.rope_beta_slow = optional_number(s, "beta_slow", kMostFactor, 1);
  a.rope_magnitude = yarn_magnitude_of(s, a.rope_factor);
  if (given(s, "truncate") && !s.boolean("truncate")) s.fail("truncate", "true: natrix has no other");
}

}  // namespace

void read_attention(const JsonObject& j, int64_t kv_heads, bool with_head_dim, ModelConfig& c) {
  AttentionConfig& a = c.attention;
  a.num_heads = j.integer("num_attention_heads", 1, kMostWidth, 32);
  const int64_t usual = kv_heads > 0 ? kv_heads : a.num_heads;
  a.num_kv_heads = j.has("num_key_value_heads") && !given(j, "num_key_value_heads")
                       ? a.num_heads
                       : j.integer("num_key_value_heads", 1, kMostWidth, usual);
  if (a.num_heads % *a.num_kv_heads != 0) {
    const std::string key = j.has("num_key_value_heads") ? "num_key_value_heads" : "num_attention_heads";
    j.fail(key, fmt::format("num_attention_heads ({}) a multiple of num_key_value_heads ({})", a.num_heads,
                            *a.num_kv_heads));
  }
  if (with_head_dim && given(j, "head_dim")) {
    a.head_dim = j.integer("head_dim", 1, kMostWidth);
  } else if (c.d_model % a.num_heads != 0) {
    j.fail(j.has("num_attention_heads") ? "num_attention_heads" : "hidden_size",
           fmt::format("num_attention_heads ({}) a divisor of hidden_size ({})", a.num_heads, c.d_model));
  } else {
    a.head_dim = c.d_model / a.num_heads;
  }
  if (a.num_heads > kMostWidth / *a.head_dim)
    j.fail("num_attention_heads", fmt::format("at most {} channels in all heads", kMostWidth));
  a.proj_bias = j.boolean("attention_bias", false);
}

nlohmann::json attention_json(bool with_head_dim, const ModelConfig& c) {
  const bool any = stack_holds(c, '*') || c.d_model % c.attention.num_heads == 0;
  nlohmann::json out = {{"num_attention_heads", any ? c.attention.num_heads : 1},
                        {"num_key_value_heads", any ? c.kv_heads() : 1},
                        {"attention_bias", c.attention.proj_bias}};
  if (with_head_dim) out["head_dim"] = any ? c.attention_head_dim() : c.d_model;
  return out;
}

bool heads_divide_width(const ModelConfig& c) {
  return c.attention_head_dim() * c.attention.num_heads == c.d_model;
}

void read_rope(const JsonObject& j, double fraction, bool only_fraction, ModelConfig& c) {
  AttentionConfig& a = c.attention;
  const bool together = given(j, "rope_parameters");
  const JsonObject r = together ? j.object("rope_parameters") : j;
  if (together) expect_null(j, "rope_scaling");
  a.rope = Rope::kDefault;
  a.rope_theta = optional_number(given(r, "rope_theta") ? r : j, "rope_theta", kMostTheta, 10000);
  const JsonObject& f = given(r, "partial_rotary_factor") ? r : j;
  a.rope_fraction = fraction;
  if (given(f, "partial_rotary_factor")) {
    a.rope_fraction = f.number("partial_rotary_factor", kLeastPositive, 1);
    if (only_fraction && a.rope_fraction != fraction)
      f.fail("partial_rotary_factor", fmt::format("{}: this class has no other", fraction));
  }
  const auto width = static_cast<int64_t>(static_cast<double>(c.attention_head_dim()) * a.rope_fraction);
  if (width < 2 || width % 2 != 0) {
    throw InputError(
        fmt::format("{}: {} of {} channels of a head turn with the position; expected an even number "
                    "(head_dim x partial_rotary_factor)",
                    j.origin(), width, c.attention_head_dim()));
  }
  if (together) return read_scaling(j, r, a);
  if (given(j, "rope_scaling")) read_scaling(j, j.object("rope_scaling"), a);
}

nlohmann::json rope_json(double usual_fraction, const ModelConfig& c) {
  const AttentionConfig& a = c.attention;
  nlohmann::json out = {{"rope_theta", a.rope_theta}, {"rope_type", "default"}};
  for (const RopeName& r : kRopes) {
    if (a.rope == r.rope) out["rope_type"] = r.name;
  }
  if (usual_fraction != 1 || a.rope_fraction != usual_fraction)
    out["partial_rotary_factor"] = a.rope_fraction;
  if (a.rope == Rope::kNone || a.rope == Rope::kDefault) return out;
  out["factor"] = a.rope_factor;
  if (a.rope == Rope::kLinear) return out;
  out["original_max_position_embeddings"] = static_cast<int64_t>(a.rope_original_length);
  if (a.rope == Rope::kLlama3) {
    out["low_freq_factor"] = a.rope_low_freq_factor;
    out["high_freq_factor"] = a.rope_high_freq_factor;
    return out;
  }
  out["beta_fast"] = a.rope_beta_fast;
  out["beta_slow"] = a.rope_beta_slow;
  if (a.rope_magnitude) out["attention_factor"] = *a.rope_magnitude;
  return out;
}

}  // namespace natrix::hf
