// Every key of an experiment, defined once: reading, validation, printing, docs/config.md, our own config.json
// and the comparison with a checkpoint follow from this list.
#include <limits>

#include "configs/schema/field_types.h"
#include "configs/schema/model_bounds.h"

namespace natrix {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::initializer_list<std::pair<const char*, MlpActivation>> activations() {
  static const std::initializer_list<std::pair<const char*, MlpActivation>> kNames = {
      {"swiglu", MlpActivation::kSwiglu},
      {"geglu", MlpActivation::kGeglu},
      {"gelu", MlpActivation::kGelu},
      {"relu2", MlpActivation::kRelu2}};
  return kNames;
}

Field training_setting(Field field, BesideCheckpoint beside = BesideCheckpoint::kReplaces) {
  field.beside_checkpoint = beside;
  return field;
}

Field may_be_absent(Field field) {
  field.needed = false;
  return field;
}

Field multiplier(std::string key, double& to, std::string help) {
  return may_be_absent(number_field(std::move(key), to, -kMostMultiplier, kMostMultiplier, std::move(help)));
}

void add_mamba2(std::vector<Field>& f, Mamba2Config& m) {
  const auto add = [&](Field field) { f.push_back(may_be_absent(std::move(field))); };
  add(integer_field("model.mamba2.d_state", m.d_state, 1, kMostStates, "Columns of a head's state, N"));
  add(integer_field("model.mamba2.d_conv", m.d_conv, 1, kMostTaps, "Taps of the short convolution, K"));
  add(integer_field("model.mamba2.expand", m.expand, 1, kMostExpand, "d_inner = expand * d_model"));
  add(integer_field("model.mamba2.head_dim", m.head_dim, 1, kMostWidth, "Channels of a head, P"));
  add(optional_integer_field("model.mamba2.num_heads", m.num_heads, "auto", 1, kMostWidth,
                             "Heads; auto: expand * d_model / head_dim"));
  add(integer_field("model.mamba2.n_groups", m.n_groups, 1, kMostWidth,
                    "Groups of heads that share B and C"));
  add(integer_field("model.mamba2.chunk", m.chunk, 1, kMostWidth,
                    "chunk_size of config.json; results do not depend on it"));
  add(limits_field("model.mamba2.time_step_limit", m.dt_min, m.dt_max, "Least and largest step size"));
  add(boolean_field("model.mamba2.norm", m.norm, "RMSNorm of each group beside the gate"));
  add(boolean_field("model.mamba2.norm_before_gate", m.norm_before_gate, "The norm comes before the gate"));
  add(boolean_field("model.mamba2.conv_bias", m.conv_bias, "Bias of the convolution"));
  add(boolean_field("model.mamba2.proj_bias", m.proj_bias, "Biases of in_proj and out_proj"));
  f.push_back(multiplier("model.mamba2.in_multiplier", m.in_multiplier, "Of the mixer's input (Falcon-H1)"));
  f.push_back(multiplier("model.mamba2.out_multiplier", m.out_multiplier, "Of its output"));
  f.push_back(multiplier("model.mamba2.z_multiplier", m.z_multiplier, "Of the gate in in_proj's output"));
  f.push_back(multiplier("model.mamba2.x_multiplier", m.x_multiplier, "Of x in in_proj's output"));
  f.push_back(multiplier("model.mamba2.B_multiplier", m.B_multiplier, "Of B in in_proj's output"));
  f.push_back(multiplier("model.mamba2.C_multiplier", m.C_multiplier, "Of C in in_proj's output"));
  f.push_back(multiplier("model.mamba2.dt_multiplier", m.dt_multiplier, "Of dt in in_proj's output"));
}

void add_attention(std::vector<Field>& f, AttentionConfig& a) {
  const auto add = [&](Field field) { f.push_back(may_be_absent(std::move(field))); };
  add(integer_field("model.attention.num_heads", a.num_heads, 1, kMostWidth, "Query heads"));
  add(optional_integer_field("model.attention.num_kv_heads", a.num_kv_heads, "auto", 1, kMostWidth,
                             "Key and value heads, which query heads share; auto: num_heads"));
  add(optional_integer_field("model.attention.head_dim", a.head_dim, "auto", 1, kMostWidth,
                             "Channels of a head; auto: d_model / num_heads"));
  add(boolean_field("model.attention.proj_bias", a.proj_bias, "Biases of the four projections"));
  add(optional_integer_field("model.attention.window", a.window, "none", 1, int64_t{1} << 40,
                             "Keys that a query sees, its own included; none: all of its document"));
  add(optional_number_field("model.attention.scale", a.scale, "auto", 1e-9, 1e9,
                            "Of the scores; auto: 1 / sqrt(head_dim)"));
  add(choice_field("model.attention.rope", a.rope,
                   {{"none", Rope::kNone},
                    {"default", Rope::kDefault},
                    {"linear", Rope::kLinear},
                    {"llama3", Rope::kLlama3},
                    {"yarn", Rope::kYarn}},
                   "Rotary position embeddings, and how they are scaled"));
  add(number_field("model.attention.rope_theta", a.rope_theta, 1e-6, 1e18, "Base of the frequencies"));
  add(number_field("model.attention.rope_fraction", a.rope_fraction, 1e-6, 1, "Of a head's channels"));
  add(number_field("model.attention.rope_factor", a.rope_factor, 1e-6, 1e9, "Stretches the positions"));
  add(number_field("model.attention.rope_original_length", a.rope_original_length, 1, 1e12,
                   "Trained length before scaling (llama3, yarn)"));
  add(number_field("model.attention.rope_low_freq_factor", a.rope_low_freq_factor, 1e-6, 1e9, "Of llama3"));
  add(number_field("model.attention.rope_high_freq_factor", a.rope_high_freq_factor, 1e-6, 1e9, "Of llama3"));
  add(number_field("model.attention.rope_beta_fast", a.rope_beta_fast, 1e-6, 1e9, "Of yarn"));
  add(number_field("model.attention.rope_beta_slow", a.rope_beta_slow, 1e-6, 1e9, "Of yarn"));
  add(optional_number_field("model.attention.rope_magnitude", a.rope_magnitude, "auto", 1e-6, 1e6,
                            "Of yarn; auto: 0.1 ln(rope_factor) + 1"));
  f.push_back(
      multiplier("model.attention.in_multiplier", a.in_multiplier, "Of the layer's input (Falcon-H1)"));
  f.push_back(multiplier("model.attention.out_multiplier", a.out_multiplier, "Of its output"));
  f.push_back(multiplier("model.attention.key_multiplier", a.key_multiplier, "Of the keys"));
}

void add_model(std::vector<Field>& f, ModelConfig& c) {
  f.push_back(path_field(
      "model.init_from", c.init_from,
      "A checkpoint to start from: architecture and weights; the keys below may then only repeat it",
      "none"));
  Field pattern =
      text_field("model.pattern", c.pattern,
                 "The stack, a letter a sublayer: M Mamba-1, S Mamba-2, * attention, E mixture of "
                 "experts, - dense MLP; (S*): mixers in parallel; required without init_from");
  pattern.expects = "a text, a letter a sublayer";
  f.push_back(std::move(pattern));
  f.push_back(integer_field("model.repeat", c.repeat, 1, kMostLayers, "How often the pattern is repeated"));
  f.push_back(integer_field("model.d_model", c.d_model, 1, kMostWidth,
                            "Width of the residual stream; required without init_from"));
  f.push_back(optional_integer_field("model.vocab_size", c.vocab_size, "auto", 1, kMostVocabulary,
                                     "auto: the tokenizer's"));
  f.push_back(boolean_field("model.tie_embeddings", c.tie_embeddings, "The head is the embedding"));
  f.push_back(number_field("model.norm_eps", c.norm_eps, kLeastEps, kMostEps,
                           "Added to the mean square in every RMSNorm"));
  f.push_back(multiplier("model.embedding_multiplier", c.embedding_multiplier, "Of the embedding"));
  f.push_back(multiplier("model.residual_multiplier", c.residual_multiplier, "Of every sublayer's output"));
  f.push_back(multiplier("model.logits_multiplier", c.logits_multiplier, "Of the logits"));
  MambaConfig& m = c.mamba;
  f.push_back(integer_field("model.mamba.d_state", m.d_state, 1, kMostStates, "States a channel, N"));
  f.push_back(
      integer_field("model.mamba.d_conv", m.d_conv, 1, kMostTaps, "Taps of the short convolution, K"));
  f.push_back(integer_field("model.mamba.expand", m.expand, 1, kMostExpand, "d_inner = expand * d_model"));
  f.push_back(may_be_absent(optional_integer_field("model.mamba.dt_rank", m.dt_rank, "auto", 1, kMostWidth,
                                                   "auto: d_model / 16, rounded up")));
  f.push_back(
      boolean_field("model.mamba.inner_norms", m.inner_norms, "RMSNorm on dt, B and C, as Jamba has"));
  f.push_back(may_be_absent(boolean_field("model.mamba.inner_norm_weights", m.inner_norm_weights,
                                          "Their weights; Falcon-Mamba has none")));
  f.push_back(may_be_absent(optional_number_field("model.mamba.inner_norm_eps", m.inner_norm_eps, "auto",
                                                  kLeastEps, kMostEps, "Of these norms; auto: norm_eps")));
  f.push_back(boolean_field("model.mamba.conv_bias", m.conv_bias, "Bias of the convolution"));
  f.push_back(boolean_field("model.mamba.proj_bias", m.proj_bias, "Biases of in_proj and out_proj"));
  add_mamba2(f, c.mamba2);
  add_attention(f, c.attention);
  f.push_back(integer_field("model.mlp.d_ff", c.mlp.d_ff, 1, kMostWidth, "Hidden units of a dense MLP"));
  f.push_back(
      choice_field("model.mlp.activation", c.mlp.activation, activations(), "swiglu and geglu are gated"));
  f.push_back(multiplier("model.mlp.gate_multiplier", c.mlp.gate_multiplier, "Of the gate (Falcon-H1)"));
  f.push_back(multiplier("model.mlp.out_multiplier", c.mlp.out_multiplier, "Of the output (Falcon-H1)"));
  MoeConfig& e = c.moe;
  f.push_back(integer_field("model.moe.num_experts", e.num_experts, 1, kMostExperts, "Experts a layer"));
  f.push_back(integer_field("model.moe.top_k", e.top_k, 1, kMostExperts,
                            "Experts a token goes to; its default gives way to num_experts"));
  f.push_back(integer_field("model.moe.d_ff", e.d_ff, 1, kMostWidth, "Hidden units of an expert"));
  f.push_back(choice_field("model.moe.activation", e.activation, activations(), "Of the experts"));
  f.push_back(choice_field("model.moe.router", e.router,
                           {{"softmax", Router::kSoftmax}, {"sigmoid", Router::kSigmoid}},
                           "Scores of the experts"));
  f.push_back(boolean_field("model.moe.renormalize", e.renormalize, "Divide the chosen scores by their sum"));
  f.push_back(integer_field("model.moe.shared_experts", e.shared_experts, 0, kMostExperts,
                            "Experts that every token goes to"));
  f.push_back(
      may_be_absent(optional_integer_field("model.moe.shared_d_ff", e.shared_d_ff, "auto", 1, kMostWidth,
                                           "Hidden units of a shared expert; auto: d_ff")));
  f.push_back(may_be_absent(optional_integer_field("model.moe.latent", e.latent, "none", 1, kMostWidth,
                                                   "Experts work on rows of this width; none: d_model")));
  f.push_back(may_be_absent(
      integer_field("model.moe.groups", e.groups, 1, kMostExperts, "Groups of experts for the choice")));
  f.push_back(may_be_absent(integer_field("model.moe.top_groups", e.top_groups, 1, kMostExperts,
                                          "Groups that a token chooses its experts from")));
  f.push_back(multiplier("model.moe.routed_scaling", e.routed_scaling, "Of the chosen experts' weights"));
  f.push_back(may_be_absent(boolean_field("model.moe.selection_bias", e.selection_bias,
                                          "A bias of the choice, kept without updates too")));
  f.push_back(training_setting(
      optional_number_field("model.moe.capacity_factor", e.capacity_factor, "none", 1e-6, 1e6,
                            "Tokens an expert takes, relative to an even share; none: all")));
  f.push_back(training_setting(
      number_field("model.moe.aux_loss_coef", e.aux_loss_coef, 0, 1e6, "Of the load-balancing loss")));
  f.push_back(training_setting(
      number_field("model.moe.z_loss_coef", e.z_loss_coef, 0, 1e6, "Of the router's z-loss")));
  f.push_back(training_setting(number_field("model.moe.bias_update_rate", e.bias_update_rate, 0, 1e6,
                                            "Balancing by a selection bias; 0: off"),
                               BesideCheckpoint::kStaysOnOff));
}

void add_sequence(std::vector<Field>& f, SequenceConfig& c) {
  f.push_back(integer_field("sequence.length", c.length, 1, int64_t{1} << 40, "Tokens a row"));
  f.push_back(integer_field("sequence.chunk", c.chunk, 1, int64_t{1} << 40,
                            "Tokens of a row in memory at once; its default gives way to length"));
  f.push_back(choice_field("sequence.gradient", c.gradient,
                           {{"exact", GradientMode::kExact}, {"truncated", GradientMode::kTruncated}},
                           "exact: as if the sequence were one chunk; truncated: cut between chunks"));
  f.push_back(bytes_field("sequence.boundary_memory", c.boundary_memory,
                          "For boundary states; beyond it they are thinned"));
  f.push_back(boolean_field("sequence.carry_state", c.carry_state,
                            "A row starts from the end state of the step before"));
}

void add_data(std::vector<Field>& f, DataConfig& c) {
  f.push_back(data_field("data.train", c.train,
                         "Files and directories of text, JSON lines or tokens; weights make it a mixture"));
  f.push_back(data_field("data.eval", c.eval, "Held-out text"));
  f.push_back(path_field(
      "data.batches", c.batches,
      "Instead of train: safetensors with \"tokens\" [steps, B, T + 1], exactly these batches in order",
      "none"));
  f.push_back(path_field("data.tokenizer", c.tokenizer, "A tokenizer, or a byte a token", "bytes"));
  f.push_back(path_field("data.cache", c.cache,
                         "Keeps tokens made of text; auto: NATRIX_CACHE, or ~/.cache/natrix", "auto"));
  f.push_back(choice_field("data.order", c.order,
                           {{"shuffled", DataOrder::kShuffled}, {"sequential", DataOrder::kSequential}},
                           "sequential: each row reads on where it ended a step before"));
  f.push_back(choice_field("data.documents", c.documents,
                           {{"packed", Documents::kPacked}, {"joined", Documents::kJoined}},
                           "packed: states are reset where a document starts"));
}

void add_training(std::vector<Field>& f, TrainConfig& t, OptimizerConfig& o) {
  f.push_back(integer_field("train.steps", t.steps, 1, int64_t{1} << 40, "Optimizer steps"));
  f.push_back(integer_field("train.batch_size", t.batch_size, 1, int64_t{1} << 31,
                            "Sequences of a step, over all ranks"));
  f.push_back(optional_integer_field("train.micro_batch_size", t.micro_batch_size, "auto", 1,
                                     int64_t{1} << 31,
                                     "Sequences in memory at once; auto: activations of about a gigabyte"));
  f.push_back(integer_field("train.eval_every", t.eval_every, 0, kUnlimited,
                            "Steps between evaluations; 0: only at the end"));
  f.push_back(
      integer_field("train.eval_tokens", t.eval_tokens, 1, kUnlimited, "Held-out tokens of an evaluation"));
  f.push_back(seed_field("train.seed", t.seed, "Of the initial weights and of the order of the data"));
  f.push_back(choice_field("train.on_nan", t.on_nan, {{"stop", OnNan::kStop}, {"skip", OnNan::kSkip}},
                           "When the loss is not finite: stop the run, or leave the step out"));
  f.push_back(integer_field("train.max_skipped", t.max_skipped, 1, kUnlimited,
                            "Steps in a row that on_nan: skip leaves out before it stops the run"));
  f.push_back(named_field(
      "optimizer.name", {{"adamw", 0}}, [&o](int) { o.name = "adamw"; }, [] { return 0; },
      "The only one so far"));
  f.push_back(number_field("optimizer.lr", o.lr, 0, 1e3, "Learning rate after the warm-up"));
  f.push_back(number_field("optimizer.min_lr", o.min_lr, 0, 1e3,
                           "Where cosine and wsd end; its default gives way to lr"));
  f.push_back(choice_field(
      "optimizer.schedule", o.schedule,
      {{"cosine", LrSchedule::kCosine}, {"wsd", LrSchedule::kWsd}, {"constant", LrSchedule::kConstant}},
      "After the warm-up"));
  f.push_back(integer_field("optimizer.warmup_steps", o.warmup_steps, 0, kUnlimited,
                            "Steps of linear warm-up; its default gives way to train.steps"));
  f.push_back(integer_field("optimizer.decay_steps", o.decay_steps, 0, kUnlimited,
                            "wsd: steps of the final decay; 0: a fifth"));
  f.push_back(number_pair_field("optimizer.betas", o.beta1, o.beta2, 0, 1, "AdamW's moments"));
  f.push_back(number_field("optimizer.eps", o.eps, 1e-30, 1, "AdamW's epsilon"));
  f.push_back(number_field("optimizer.weight_decay", o.weight_decay, 0, 1e3,
                           "Of matrices; vectors, A_log and D never decay"));
  f.push_back(number_field("optimizer.clip_grad_norm", o.clip_grad_norm, 0, kInfinity,
                           "Of all gradients together; 0: off"));
}

void add_machine(std::vector<Field>& f, ExperimentConfig& c) {
  f.push_back(
      optional_integer_field("parallel.dp", c.parallel.dp, "auto", 1, 1 << 24, "Data-parallel ranks"));
  f.push_back(integer_field("parallel.cp", c.parallel.cp, 1, 1 << 24, "Context-parallel ranks"));
  f.push_back(integer_field("parallel.ep", c.parallel.ep, 1, 1 << 24, "Expert-parallel ranks"));
  f.push_back(choice_field("parallel.cp_link", c.parallel.cp_link,
                           {{"relay", CarryLinkKind::kRelay}, {"scan", CarryLinkKind::kScan}},
                           "How states cross ranks"));
  f.push_back(
      integer_field("parallel.zero", c.parallel.zero, 0, 1,
                    "1: ranks that hold the same weights share out their optimizer's state (ZeRO-1)"));
  f.push_back(bytes_field("parallel.bucket", c.parallel.bucket,
                          "Gradients that are summed at once; 0: 8MiB, or 64KiB a rank if that is more"));
  f.push_back(
      seconds_field("parallel.timeout", c.parallel.timeout, "Of a collective, before the run is ended"));
  f.push_back(boolean_field("parallel.share_gpus", c.parallel.share_gpus,
                            "Ranks may share a GPU where a machine has fewer than ranks"));
  f.push_back(choice_field("device.backend", c.device.backend,
                           {{"auto", DeviceBackend::kAuto},
                            {"cpu", DeviceBackend::kCpu},
                            {"cuda", DeviceBackend::kCuda},
                            {"reference", DeviceBackend::kReference}},
                           "auto: CUDA if the build has it and a device answers, else cpu; the log says "
                           "which. reference: plain loops in double"));
  f.push_back(
      choice_field("device.dtype", c.device.dtype,
                   {{"fp32", DeviceDtype::kFp32}, {"bf16", DeviceDtype::kBf16}, {"fp64", DeviceDtype::kFp64}},
                   "bf16: backend cuda only; fp64: the reference backend only"));
  f.push_back(optional_integer_field("device.threads", c.device.threads, "auto", 1, 4096,
                                     "auto: as many as the process may use"));
  f.push_back(integer_field("checkpoint.every", c.checkpoint.every, 0, kUnlimited,
                            "Steps; 0: only at the end and on a signal"));
  f.push_back(
      integer_field("checkpoint.keep", c.checkpoint.keep, 1, kUnlimited, "Newest checkpoints that are kept"));
  f.push_back(boolean_field("checkpoint.resume", c.checkpoint.resume,
                            "Go on from the run directory's newest checkpoint", "auto", "never"));
  f.push_back(integer_field("log.every", c.log.every, 1, kUnlimited, "Steps between log lines"));
}

/// Where, how often and how fast, but not what comes out.
bool is_about_the_process(std::string_view key) {
  return key.starts_with("run.") || key.starts_with("checkpoint.") || key.starts_with("log.") ||
         key == "data.cache" || key == "device.threads" || key == "parallel.share_gpus" ||
         key == "parallel.timeout" || key == "sequence.boundary_memory";
}

}  // namespace

std::vector<Field> model_fields_of(ModelConfig& c) {
  std::vector<Field> f;
  add_model(f, c);
  return f;
}

std::vector<Field> fields_of(ExperimentConfig& c) {
  std::vector<Field> f;
  f.push_back(path_field("run.dir", c.run.dir,
                         "Where the run is kept; runs/NAME of the current directory for NAME.yaml"));
  f.push_back(
      boolean_field("run.rank_logs", c.run.rank_logs,
                    "Each rank logs its part of every step to ranks/rank-000.log and so on in run.dir"));
  add_model(f, c.model);
  add_sequence(f, c.sequence);
  add_data(f, c.data);
  add_training(f, c.train, c.optimizer);
  add_machine(f, c);
  for (Field& field : f) field.decides_result = !is_about_the_process(field.key);
  return f;
}

}  // namespace natrix
