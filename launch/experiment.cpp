#include "launch/experiment.h"

#include <fmt/format.h>

#include "configs/field.h"
#include "core/io/checkpoint_dir.h"
#include "core/io/hf_checkpoint.h"
#include "core/io/hf_formats.h"
#include "core/layers/init.h"
#include "core/text/own_tokenizer.h"
#include "kernels/base/build.h"
#include "launch/run_mesh.h"

namespace natrix {
namespace {

/// model.init_from decides the architecture; keys that are set all the same must agree with it.
void adopt_checkpoint(Experiment& e, const std::function<void(const std::string&)>& warn) {
  e.init_dir = resolve_model_dir(e.config.model.init_from);
  std::string untied;  // why the head is not tied, although config.json ties it
  const ModelConfig found = read_model_config(e.init_dir, [&](const std::string& why) { untied = why; });
  const ModelConfig& asked = e.loaded.config.model;
  const auto agree = [&](const char* key, bool equal) {
    if (e.loaded.was_set(key) && !equal) {
      throw InputError(
          fmt::format("{}: {} does not agree with model.init_from ({}); leave the key out, or train from a "
                      "fresh model without init_from",
                      e.loaded.origin_of(key), key, e.init_dir));
    }
  };
  const MambaConfig &fm = found.mamba, &am = asked.mamba;
  const MoeConfig &fe = found.moe, &ae = asked.moe;
  if (e.loaded.was_set("model.pattern") || e.loaded.was_set("model.repeat")) {
    agree(e.loaded.was_set("model.pattern") ? "model.pattern" : "model.repeat",
          asked.stack() == found.stack());
  }
  agree("model.d_model", asked.d_model == found.d_model);
  agree("model.vocab_size", !asked.vocab_size || asked.vocab_size == found.vocab_size);
  if (!untied.empty() && e.loaded.was_set("model.tie_embeddings") && asked.tie_embeddings) {
    throw InputError(fmt::format("{}: model.tie_embeddings is true, but {}; leave the key out",
                                 e.loaded.origin_of("model.tie_embeddings"), untied));
  }
  agree("model.tie_embeddings", asked.tie_embeddings == found.tie_embeddings);
  agree("model.norm_eps", asked.norm_eps == found.norm_eps);
  agree("model.mamba.d_state", am.d_state == fm.d_state);
  agree("model.mamba.d_conv", am.d_conv == fm.d_conv);
  agree("model.mamba.expand", am.expand == fm.expand);
  agree("model.mamba.dt_rank", asked.dt_rank() == found.dt_rank());
  agree("model.mamba.inner_norms", am.inner_norms == fm.inner_norms);
  agree("model.mamba.conv_bias", am.conv_bias == fm.conv_bias);
  agree("model.mamba.proj_bias", am.proj_bias == fm.proj_bias);
  agree("model.mlp.d_ff", asked.mlp.d_ff == found.mlp.d_ff);
  agree("model.mlp.activation", asked.mlp.activation == found.mlp.activation);
  agree("model.moe.num_experts", ae.num_experts == fe.num_experts);
  agree("model.moe.top_k", ae.top_k == fe.top_k);
  agree("model.moe.d_ff", ae.d_ff == fe.d_ff);
  agree("model.moe.activation", ae.activation == fe.activation);
  agree("model.moe.router", ae.router == fe.router);
  agree("model.moe.renormalize", ae.renormalize == fe.renormalize);
  agree("model.moe.shared_experts", ae.shared_experts == fe.shared_experts);
  agree("model.moe.bias_update_rate", (ae.bias_update_rate > 0) == (fe.bias_update_rate > 0));

  if (!untied.empty()) warn(untied);
  e.config.model = found;
  e.config.model.init_from = asked.init_from;
  MoeConfig& moe = e.config.model.moe;  // what the checkpoint need not hold
  const auto take = [&](const char* key, auto& to, const auto& from) {
    if (e.loaded.was_set(key) || hf_family(found) != HfFamily::kNatrix) to = from;
  };
  take("model.moe.aux_loss_coef", moe.aux_loss_coef, ae.aux_loss_coef);
  take("model.moe.z_loss_coef", moe.z_loss_coef, ae.z_loss_coef);
  take("model.moe.capacity_factor", moe.capacity_factor, ae.capacity_factor);
  if (e.loaded.was_set("model.moe.bias_update_rate")) moe.bias_update_rate = ae.bias_update_rate;
}

/// The text's tokenizer. That of init_from is not read as bytes because natrix cannot read it otherwise:
/// somebody has to ask for that.
std::unique_ptr<Tokenizer> tokenizer_of_text(const Experiment& e, const OwnTokenizer& own) {
  const std::optional<int64_t>& size = e.config.model.vocab_size;
  const bool asked = e.loaded.was_set("data.tokenizer") && own.kind != OwnTokenizer::Kind::kBytes;
  if (e.init_dir.empty() || asked || e.config.data.tokenizer != "bytes") {
    return make_tokenizer(e.config.data.tokenizer, size);
  }
  return make_own_tokenizer(
      own, *size,
      "model.init_from can be trained on tokens (data.batches), or on bytes all the same "
      "with data.tokenizer=bytes");
}

void settle_vocabulary(Experiment& e) {
  const OwnTokenizer own = e.init_dir.empty() ? OwnTokenizer() : tokenizer_of(e.init_dir);
  std::optional<int64_t>& size = e.config.model.vocab_size;
  const bool text = e.config.data.batches.empty();
  if (!text && e.config.data.eval.empty()) {
    if (!size) {
      throw InputError(
          "model.vocab_size is auto, but data.batches holds tokens without a tokenizer: set "
          "model.vocab_size");
    }
    if (e.config.data.tokenizer == "bytes" && reads_bytes(own, *size))
      e.tokenizer = make_own_tokenizer(own, *size, "");
    return;
  }
  e.tokenizer = tokenizer_of_text(e, own);
  if (!size) size = e.tokenizer->vocab_size();
}

/// The printed configuration says what was left open, and where that came from.
void record_resolved(Experiment& e) {
  const std::string source = e.init_dir.empty() ? "the tokenizer" : "model.init_from";
  ExperimentConfig resolved = e.config;
  const std::vector<Field> before = fields_of(e.loaded.config), after = fields_of(resolved);
  for (size_t i = 0; i < after.size(); ++i) {
    if (before[i].print() != after[i].print()) e.loaded.origin[after[i].key] = source;
  }
  e.loaded.config = e.config;
}

}  // namespace

Experiment resolve_experiment(LoadedConfig loaded, int ranks,
                              const std::function<void(const std::string&)>& warn, const LayerKinds& kinds) {
  Experiment e;
  e.kinds = &kinds;
  e.config = loaded.config;
  e.loaded = std::move(loaded);
  settle_mesh(e.config.parallel, ranks);  // before files are read
  kinds.check(e.config.model.pattern, e.loaded.origin_of("model.pattern"));
  if (!e.config.model.init_from.empty()) adopt_checkpoint(e, warn);
  settle_vocabulary(e);
  check_layout(e.config, needs_of(*e.describe()), settle_mesh(e.config.parallel, ranks));
  record_resolved(e);
  e.backend();
  e.dtype();
  return e;
}

Backend Experiment::backend() const {
  switch (config.device.backend) {
    case DeviceBackend::kAuto:
    case DeviceBackend::kCpu: return Backend::kCpu;
    case DeviceBackend::kReference: return Backend::kReference;
    case DeviceBackend::kCuda:
      if constexpr (build::kCuda) return Backend::kCuda;
      break;
  }
  throw InputError("device.backend: cuda is not in this build of natrix; use cpu");
}

Dtype Experiment::dtype() const {
  if (config.device.dtype == DeviceDtype::kFp32) return Dtype::kF32;
  if (config.device.dtype == DeviceDtype::kFp64 && backend() == Backend::kReference) return Dtype::kF64;
  if (config.device.dtype == DeviceDtype::kBf16 && backend() == Backend::kCuda) return Dtype::kBF16;
  throw InputError(config.device.dtype == DeviceDtype::kFp64
                       ? "device.dtype: fp64 needs device.backend: reference"
                       : "device.dtype: bf16 needs device.backend: cuda; the CPU computes in fp32");
}

int Experiment::threads() const {
  return static_cast<int>(config.device.threads.value_or(threads_of_a_rank()));
}

Context Experiment::context() const {
  return Context(backend(), threads(), place_on_host());
}

AssembledModel Experiment::describe() const {
  return describe_model(config.model, nullptr, *kinds);
}

AssembledModel Experiment::make_model(std::unique_ptr<RowExchange> exchange) const {
  const Memory memory = memory_of(backend());
  if (!init_dir.empty())
    return load_model(init_dir, config.model, dtype(), true, memory, std::move(exchange), *kinds);
  AssembledModel model = assemble_model(config.model, dtype(), true, memory, std::move(exchange), *kinds);
  initialise(model->params(), config.train.seed, static_cast<int64_t>(config.model.stack().size()));
  return model;
}

}  // namespace natrix
