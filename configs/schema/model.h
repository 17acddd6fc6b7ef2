// The model block of an experiment: what the network is. Field names are the YAML keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace natrix {

struct MambaConfig {
  int64_t d_state = 16;            // N: states a channel
  int64_t d_conv = 4;              // K: taps of the short convolution
  int64_t expand = 2;              // d_inner = expand · d_model
  std::optional<int64_t> dt_rank;  // R; auto: ceil(d_model / 16)
  bool inner_norms = true;         // RMSNorm on dt, B and C before dt_proj (Jamba)
  bool conv_bias = true;
  bool proj_bias = false;  // biases of in_proj and out_proj
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
};

enum class Router { kSoftmax, kSigmoid };

struct MoeConfig {
  int64_t num_experts = 8;
  int64_t top_k = 2;
  int64_t d_ff = 512;  // width of one expert
  MlpActivation activation = MlpActivation::kSwiglu;
  Router router = Router::kSoftmax;
  bool renormalize = false;               // divide the chosen scores by their sum
  int64_t shared_experts = 0;             // always active, each as wide as an expert
  std::optional<double> capacity_factor;  // none: dropless
  double aux_loss_coef = 0.01;
  double z_loss_coef = 0.001;
  double bias_update_rate = 0.0;  // > 0: selection bias b_e += rate · sign(mean load − load_e) after a step
};

struct ModelConfig {
  std::string init_from;  // a checkpoint directory, or empty
  std::string pattern;    // M Mamba-1, E MoE, - dense MLP (S Mamba-2 and * attention are read, not yet run)
  int64_t repeat = 1;
  int64_t d_model = 0;
  std::optional<int64_t> vocab_size;  // auto: the tokenizer's
  bool tie_embeddings = true;
  double norm_eps = 1e-6;
  MambaConfig mamba;
  MlpConfig mlp;
  MoeConfig moe;

  std::string stack() const {  // the pattern, repeated
    std::string s;
    for (int64_t i = 0; i < repeat; ++i) s += pattern;
    return s;
  }
  int64_t d_inner() const { return mamba.expand * d_model; }
  int64_t dt_rank() const { return mamba.dt_rank.value_or((d_model + 15) / 16); }
};

}  // namespace natrix
