#include "launch/assemble.h"

#include <fmt/format.h>

#include "core/io/hf_checkpoint.h"
#include "core/io/hf_formats.h"
#include "core/layers/mamba1.h"
#include "core/layers/mlp.h"
#include "launch/warning.h"
#include "moe/moe_layer.h"

namespace natrix {
namespace {

std::unique_ptr<Layer> make_layer(char letter, const ModelConfig& c, int sublayer, const std::string& prefix,
                                  RowExchange& exchange) {
  switch (letter) {
    case 'M': return std::make_unique<Mamba1>(c, sublayer, prefix);
    case 'E': return std::make_unique<MoeLayer>(c, sublayer, prefix, exchange);
    case '-': return std::make_unique<Mlp>(c.d_model, c.mlp.d_ff, c.mlp.activation, prefix);
    default:
      throw InputError(
          fmt::format("model.pattern: '{}' is not a sublayer that natrix has; use M (Mamba-1), E (mixture "
                      "of experts) and - (dense MLP)",
                      letter));
  }
}

AssembledModel build(const ModelConfig& config, std::unique_ptr<RowExchange> exchange) {
  if (!config.vocab_size) throw InputError("model.vocab_size is not known: name a tokenizer or set the key");
  const HfNames names(config);
  AssembledModel a;
  a.exchange = exchange ? std::move(exchange) : std::make_unique<LocalExchange>();
  a.model = std::make_unique<Model>(
      config,
      Model::Names{.embedding = names.embedding(), .final_norm = names.final_norm(), .head = names.head()});
  const std::string stack = config.stack();
  for (int i = 0; i < static_cast<int>(stack.size()); ++i) {
    a.model->append(names.norm(i),
                    make_layer(stack[static_cast<size_t>(i)], config, i, names.block(i), *a.exchange));
  }
  return a;
}

}  // namespace

AssembledModel describe_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange) {
  return build(config, std::move(exchange));
}

AssembledModel assemble_model(const ModelConfig& config, Dtype dtype, bool with_gradients, Memory memory,
                              std::unique_ptr<RowExchange> exchange) {
  AssembledModel a = build(config, std::move(exchange));
  a->allocate(dtype, with_gradients, memory);
  return a;
}

AssembledModel load_model(const std::string& dir, const ModelConfig& config, Dtype dtype, bool with_gradients,
                          Memory memory, std::unique_ptr<RowExchange> exchange) {
  AssembledModel a = build(config, std::move(exchange));
  const AssembledModel whole = describe_model(config);
  check_weights(dir, config, whole->params());  // before memory is taken for what the files may not hold
  a->allocate(dtype, with_gradients, memory);
  load_weights(dir, config, a->params(), whole->params());
  return a;
}

AssembledModel load_model(const std::string& dir, Dtype dtype, bool with_gradients, Memory memory) {
  return load_model(dir, read_model_config(dir, print_warning), dtype, with_gradients, memory);
}

void update_router_biases(Model& model, const StepTally& tally) {
  for (Layer* layer : model.layers()) {
    if (auto* moe = dynamic_cast<MoeLayer*>(layer)) moe->router().update_bias(tally);
  }
}

bool needs_tally(const ModelConfig& config) {
  return config.stack().find('E') != std::string::npos && config.moe.aux_loss_coef != 0;
}

}  // namespace natrix
