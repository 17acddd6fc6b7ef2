// Mamba2ForCausalLM: a stack of Mamba-2 layers and nothing else.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/hf/families.h"
#include "core/hf/mamba2_keys.h"
#include "core/hf/model_traits.h"

namespace natrix {
namespace {

constexpr char kMamba2Layer = 'S';

Mamba2Config mamba2_class_defaults() {
  Mamba2Config d;
  d.num_heads = 128;
  d.n_groups = 8;
  d.chunk = 256;
  return d;
}

ModelConfig read_mamba2_model(const JsonObject& j) {
  ModelConfig c;
  hf::set_stack(
      c, std::string(static_cast<size_t>(j.integer("num_hidden_layers", 1, kMostLayers)), kMamba2Layer));
  hf::read_common(j, false, c);
  c.norm_eps = j.number("layer_norm_epsilon", kLeastEps, kMostEps, 1e-5);
  const Mamba2Config defaults = mamba2_class_defaults();
  hf::read_mamba2(j, hf::kMamba2Spelling, defaults,
                  hf::expanded_width(j, hf::kMamba2Spelling, defaults, c.d_model), c);
  hf::expect_silu(j);
  if (!j.boolean("rms_norm", true)) j.fail("rms_norm", "true: the class has no other");
  c.mamba.dt_rank = c.dt_rank();
  return c;
}

bool mamba2_expresses(const ModelConfig& c) {
  return c.stack().find_first_not_of(kMamba2Layer) == std::string::npos && c.mamba2.norm &&
         !c.mamba2.norm_before_gate && hf::heads_fill_width(c) && hf::plain_stream(c) && hf::plain_mixers(c);
}

nlohmann::json write_mamba2_model(const ModelConfig& c) {
  nlohmann::json out = {{"architectures", {"Mamba2ForCausalLM"}},
                        {"model_type", "mamba2"},
                        {"num_hidden_layers", c.stack().size()},
                        {"layer_norm_epsilon", c.norm_eps},
                        {"hidden_act", "silu"},
                        {"residual_in_fp32", true},
                        {"use_cache", true}};
  out.update(hf::mamba2_json(hf::kMamba2Spelling, c));
  return out;
}

HfNames mamba2_names(const ModelConfig&) {
  return {.embedding = "backbone.embeddings.weight",
          .final_norm = "backbone.norm_f.weight",
          .norm = [](int i) { return fmt::format("backbone.layers.{}.norm.weight", i); },
          .block = [](int i) { return fmt::format("backbone.layers.{}.mixer.", i); }};
}

}  // namespace

HfFamily mamba2_family() {
  return {.model_type = "mamba2",
          .name = "Mamba2ForCausalLM",
          .reads = "Mamba2ForCausalLM",
          .read = read_mamba2_model,
          .expresses = mamba2_expresses,
          .write = write_mamba2_model,
          .names = mamba2_names};
}

}  // namespace natrix
