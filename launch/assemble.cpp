#include "launch/assemble.h"

#include <fmt/format.h>

#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "launch/warning.h"

namespace natrix {
namespace {

AssembledModel build_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange,
                           const LayerKinds& kinds) {
  if (!config.vocab_size) throw InputError("model.vocab_size is not known: name a tokenizer or set the key");
  const HfNames names(config);
  AssembledModel a;
  a.exchange = exchange ? std::move(exchange) : std::make_unique<LocalExchange>();
  a.model = std::make_unique<Model>(
      config,
      Model::Names{.embedding = names.embedding(), .final_norm = names.final_norm(), .head = names.head()});
  const std::string stack = config.stack();
  for (int i = 0; i < static_cast<int>(stack.size()); ++i) {
    const LayerSite site{.config = config, .sublayer = i, .prefix = names.block(i), .exchange = *a.exchange};
    a.model->append(names.norm(i), kinds.make(stack[static_cast<size_t>(i)], site));
  }
  return a;
}

}  // namespace

AssembledModel describe_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange,
                              const LayerKinds& kinds) {
  return build_model(config, std::move(exchange), kinds);
}

AssembledModel assemble_model(const ModelConfig& config, Dtype dtype, bool with_gradients, Memory memory,
                              std::unique_ptr<RowExchange> exchange, const LayerKinds& kinds) {
  AssembledModel a = build_model(config, std::move(exchange), kinds);
  a->allocate(dtype, with_gradients, memory);
  return a;
}

AssembledModel load_model(const std::string& dir, const ModelConfig& config, Dtype dtype, bool with_gradients,
                          Memory memory, std::unique_ptr<RowExchange> exchange, const LayerKinds& kinds) {
  AssembledModel a = build_model(config, std::move(exchange), kinds);
  const AssembledModel whole = describe_model(config, nullptr, kinds);
  check_weights(dir, config, whole->params());  // before memory is taken for what the files may not hold
  a->allocate(dtype, with_gradients, memory);
  load_weights(dir, config, a->params(), whole->params());
  return a;
}

AssembledModel load_model(const std::string& dir, Dtype dtype, bool with_gradients, Memory memory) {
  return load_model(dir, read_model_config(dir, print_warning), dtype, with_gradients, memory);
}

}  // namespace natrix
