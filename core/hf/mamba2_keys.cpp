#include "core/hf/mamba2_keys.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/base/check.h"

namespace natrix::hf {
namespace {

int64_t head_dim(const JsonObject& j, const Mamba2Keys& keys, std::optional<int64_t> width,
                 std::optional<int64_t> fallback, int64_t heads) {
  const bool automatic = !given(j, keys.head_dim)
                             ? !fallback
                             : j.at(keys.head_dim).is_string() && j.text(keys.head_dim) == "auto";
  if (!automatic || !width) return j.integer(keys.head_dim, 1, kMostWidth, fallback);
  if (*width % heads != 0) j.fail(keys.heads, fmt::format("a divisor of the mixer's width, {}", *width));
  return *width / heads;
}

}  // namespace

Mamba2Config hybrid_mamba2_defaults() {
  Mamba2Config d;
  d.num_heads = 128;
  d.head_dim = 0;  // "auto"
  d.d_state = 256;
  d.chunk = 256;
  return d;
}

int64_t expanded_width(const JsonObject& j, const Mamba2Keys& keys, const Mamba2Config& defaults,
                       int64_t d_model) {
  return j.integer(keys.expand, 1, kMostExpand, defaults.expand) * d_model;
}

void read_mamba2(const JsonObject& j, const Mamba2Keys& keys, const Mamba2Config& defaults,
                 std::optional<int64_t> width, ModelConfig& c) {
  Mamba2Config& m = c.mamba2;
  const int64_t heads = j.integer(keys.heads, 1, kMostWidth, defaults.num_heads);
  m.num_heads = heads;
  m.head_dim = head_dim(j, keys, width,
                        defaults.head_dim > 0 ? std::optional(defaults.head_dim) : std::nullopt, heads);
  if (heads * m.head_dim != width.value_or(heads * m.head_dim)) {
    const char* key = keys.heads;
    const std::string expected = fmt::format("such that {} x {} is the mixer's width, {}; found {} x {}",
                                             keys.heads, keys.head_dim, *width, heads, m.head_dim);
    if (j.has(key)) j.fail(key, expected);
    throw InputError(
        fmt::format("{}: key {} is missing; expected one {}", j.origin(), excerpt(key), expected));
  }
  if (heads > kMostWidth / m.head_dim)
    j.fail(keys.head_dim, fmt::format("at most {} channels in {} heads", kMostWidth, heads));
  m.n_groups = j.integer(keys.groups, 1, kMostWidth, defaults.n_groups);
  if (heads % m.n_groups != 0) {
    if (j.has(keys.groups)) j.fail(keys.groups, fmt::format("a divisor of {} = {}", keys.heads, heads));
    j.fail(keys.heads, fmt::format("a multiple of {} = {}", keys.groups, m.n_groups));
  }
  m.d_state = j.integer(keys.states, 1, kMostStates, defaults.d_state);
  m.d_conv = j.integer(keys.taps, 1, kMostTaps, defaults.d_conv);
  m.expand = j.integer(keys.expand, 1, kMostExpand, defaults.expand);
  m.chunk = j.integer(keys.chunk, 1, kMostWidth, defaults.chunk);
  m.conv_bias = j.boolean(keys.conv_bias, defaults.conv_bias);
  m.proj_bias = j.boolean(keys.proj_bias, defaults.proj_bias);
  std::tie(m.dt_min, m.dt_max) = limits(j, "time_step_limit", {defaults.dt_min, defaults.dt_max});
}

nlohmann::json mamba2_json(const Mamba2Keys& keys, const ModelConfig& c) {
  const Mamba2Config& m = c.mamba2;
  return {{keys.heads, c.mamba2_heads()}, {keys.head_dim, m.head_dim},
          {keys.groups, m.n_groups},      {keys.states, m.d_state},
          {keys.taps, m.d_conv},          {keys.expand, m.expand},
          {keys.chunk, m.chunk},          {keys.conv_bias, m.conv_bias},
          {keys.proj_bias, m.proj_bias},  {"time_step_limit", limits_json(m.dt_min, m.dt_max)}};
}

}  // namespace natrix::hf
