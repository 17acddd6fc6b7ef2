// The model block of an experiment: what the network is. Field names are the YAML keys.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace natrix {

struct MambaConfig {
  int64_t d_state = 16;                  // N: states a channel
  int64_t d_conv = 4;                    // K: taps of the short convolution
  int64_t expand = 2;                    // d_inner = expand · d_model
  std::optional<int64_t> dt_rank;        // R; auto: ceil(d_model / 16)
  bool inner_norms = true;               // RMSNorm on dt, B and C before dt_proj (Jamba)
  bool inner_norm_weights = true;        // false: these norms only divide (Falcon-Mamba)
  std::optional<double> inner_norm_eps;  // auto: norm_eps
  bool conv_bias = true;
  bool proj_bias = false;  // biases of in_proj and out_proj
};

struct Mamba2Config {
  int64_t d_state = 128;             // N: each head has a state [head_dim, d_state]
  int64_t d_conv = 4;                // K: taps of the short convolution
  int64_t expand = 2;                // d_inner = expand · d_model, unless num_heads is given
  int64_t head_dim = 64;             // P
  std::optional<int64_t> num_heads;  // H; auto: expand · d_model / head_dim
  int64_t n_groups = 1;              // G: groups of heads that share B and C
  int64_t chunk = 128;               // only written to config.json: kernels choose their own tiles
  double dt_min = 0, dt_max = std::numeric_limits<double>::infinity();  // time_step_limit: of Δ
  bool norm = true;               // RMSNorm of each group, with the gate; false: only the gate
  bool norm_before_gate = false;  // norm(y) ⊙ silu(z) instead of norm(y ⊙ silu(z))
  bool conv_bias = true;
  bool proj_bias = false;  // biases of in_proj and out_proj
  // Falcon-H1 scales the mixer's input, its output, and the parts of in_proj's output.
  double in_multiplier = 1, out_multiplier = 1;
  double z_multiplier = 1, x_multiplier = 1, B_multiplier = 1, C_multiplier = 1, dt_multiplier = 1;
};

/// Rotary position embeddings, and how their frequencies are stretched (kernels/rotary.h).
enum class Rope { kNone, kDefault, kLinear, kLlama3, kYarn };

struct AttentionConfig {
  int64_t num_heads = 8;
  std::optional<int64_t> num_kv_heads;  // auto: num_heads
  std::optional<int64_t> head_dim;      // auto: d_model / num_heads
  bool proj_bias = false;               // biases of the four projections
  std::optional<int64_t> window;        // a query sees that many keys, its own included; none: all
  std::optional<double> scale;          // of the scores; auto: 1 / sqrt(head_dim)
  Rope rope = Rope::kNone;
  double rope_theta = 10000;
  double rope_fraction = 1;  // of a head's channels
  double rope_factor = 1, rope_original_length = 8192;
  double rope_low_freq_factor = 1, rope_high_freq_factor = 4;        // of llama3
  double rope_beta_fast = 32, rope_beta_slow = 1;                    // of yarn
  std::optional<double> rope_magnitude;                              // of yarn; auto: 0.1 ln(rope_factor) + 1
  double in_multiplier = 1, out_multiplier = 1, key_multiplier = 1;  // Falcon-H1
};

enum class MlpActivation {
  kSwiglu,
  kGeglu,
  kGelu,
  kRelu2
};  // the first two are gated: three matrices, not two

struct MlpConfig {
  int64_t d_ff = 1024;
  MlpActivation activation = MlpActivation::kSwiglu;
  double gate_multiplier = 1,
         out_multiplier = 1;  // Falcon-H1: on the gate before its activation; on the output
};

enum class Router { kSoftmax, kSigmoid };

struct MoeConfig {
  int64_t num_experts = 8;
  int64_t top_k = 2;
  int64_t d_ff = 512;  // width of one expert
  MlpActivation activation = MlpActivation::kSwiglu;
  Router router = Router::kSoftmax;
  bool renormalize = false;            // divide the chosen scores by their sum
  double routed_scaling = 1;           // multiplies the weights of the chosen experts
  bool selection_bias = false;         // a bias of the choice in the checkpoint, even if nothing updates it
  int64_t groups = 1, top_groups = 1;  // the choice is limited to the best top_groups of `groups`
  std::optional<int64_t> latent;       // width of the experts' rows between two projections; none: d_model
  int64_t shared_experts = 0;          // always active
  std::optional<int64_t> shared_d_ff;  // width of one shared expert; auto: d_ff
  std::optional<double> capacity_factor;  // none: dropless
  double aux_loss_coef = 0.01;
  double z_loss_coef = 0.001;
  double bias_update_rate = 0.0;  // > 0: selection bias b_e += rate · sign(mean load − load_e) after a step
};

struct ModelConfig {
  std::string init_from;  // a checkpoint directory, or empty
  /// A letter for each sublayer (launch/layer_kinds.h): M Mamba-1, S Mamba-2, * attention, E MoE, - dense MLP.
  /// "(S*)" is one sublayer of mixers in parallel, whose outputs are added.
  std::string pattern;
  int64_t repeat = 1;
  int64_t d_model = 0;
  std::optional<int64_t> vocab_size;  // auto: the tokenizer's
  bool tie_embeddings = true;
  double norm_eps = 1e-6;
  double embedding_multiplier = 1, residual_multiplier = 1, logits_multiplier = 1;
  MambaConfig mamba;
  Mamba2Config mamba2;
  AttentionConfig attention;
  MlpConfig mlp;
  MoeConfig moe;

  std::string stack() const {  // the pattern, repeated
    std::string s;
    for (int64_t i = 0; i < repeat; ++i) s += pattern;
    return s;
  }
  /// The letters of each sublayer, such as {"S", "E", "S*"}. Parentheses that do not match are letters.
  std::vector<std::string> sublayers() const {
    const std::string all = stack();
    std::vector<std::string> list;
    for (size_t i = 0; i < all.size(); ++i) {
      const size_t close = all[i] == '(' ? all.find(')', i) : std::string::npos;
      if (close == std::string::npos) {
        list.push_back(all.substr(i, 1));
      } else {
        list.push_back(all.substr(i + 1, close - i - 1));
        i = close;
      }
    }
    return list;
  }
  int64_t mamba2_heads() const {
    return mamba2.num_heads.value_or(mamba2.expand * d_model / mamba2.head_dim);
  }
  int64_t kv_heads() const { return attention.num_kv_heads.value_or(attention.num_heads); }
  int64_t attention_head_dim() const { return attention.head_dim.value_or(d_model / attention.num_heads); }
  int64_t d_inner() const { return mamba.expand * d_model; }
  int64_t dt_rank() const { return mamba.dt_rank.value_or((d_model + 15) / 16); }
};

}  // namespace natrix
