#include "launch/assemble.h"

#include <fmt/format.h>

#include "core/files/json.h"
#include "core/gguf/gguf_file.h"
#include "core/hf/families.h"
#include "core/hf/hf_checkpoint.h"
#include "core/hf/hf_formats.h"
#include "launch/api/model_files.h"

namespace natrix {
namespace {

AssembledModel build_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange,
                           const LayerKinds& kinds) {
  if (!config.vocab_size) throw InputError("model.vocab_size is not known: name a tokenizer or set the key");
  const HfNames names = hf_names(config);
  AssembledModel a;
  a.exchange = exchange ? std::move(exchange) : std::make_unique<LocalExchange>();
  a.model = std::make_unique<Model>(
      config, Model::Names{.embedding = names.embedding, .final_norm = names.final_norm, .head = names.head});
  const std::vector<std::string> stack = config.sublayers();
  for (int i = 0; i < static_cast<int>(stack.size()); ++i) {
    const LayerSite site{
        .config = config, .sublayer = i, .first_part = 0, .prefix = names.block(i), .exchange = *a.exchange};
    a.model->append(names.norm(i), kinds.make(stack[static_cast<size_t>(i)], site));
  }
  set_file_slices(config, a.model->params());
  return a;
}

void check_dtype(const ModelConfig& config, Dtype activations, const LayerKinds& kinds) {
  if (activations == Dtype::kBF16) kinds.check_bf16(config.pattern);
}

}  // namespace

ModelConfig read_checkpoint_model(const std::string& dir, const std::function<void(const std::string&)>& warn,
                                  const LayerKinds& kinds) {
  if (!is_gguf_path(dir)) read_hf_config(dir);  // a fault of config.json is told before one of the weights
  const ModelSource source = open_model(dir);
  const ModelConfig config = read_model_config(source, warn);
  kinds.check(config.pattern, fmt::format("{}: pattern {}", source.config_origin, excerpt(config.pattern)));
  return config;
}

AssembledModel describe_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange,
                              const LayerKinds& kinds) {
  return build_model(config, std::move(exchange), kinds);
}

AssembledModel assemble_model(const ModelConfig& config, Dtype dtype, bool with_gradients, Memory memory,
                              std::unique_ptr<RowExchange> exchange, const LayerKinds& kinds) {
  check_dtype(config, dtype, kinds);
  AssembledModel a = build_model(config, std::move(exchange), kinds);
  a->allocate(dtype, with_gradients, memory);
  return a;
}

AssembledModel load_model(const std::string& dir, const ModelConfig& config, Dtype dtype, bool with_gradients,
                          Memory memory, std::unique_ptr<RowExchange> exchange, const LayerKinds& kinds) {
  check_dtype(config, dtype, kinds);
  AssembledModel a = build_model(config, std::move(exchange), kinds);
  const AssembledModel whole = describe_model(config, nullptr, kinds);
  const ModelSource source = open_model(dir);
  check_weights(source, config, whole->params());  // before memory is taken for what the files may not hold
  a->allocate(dtype, with_gradients, memory);
  load_weights(source, config, a->params(), whole->params());
  return a;
}

AssembledModel load_model(const std::string& dir, Dtype dtype, bool with_gradients, Memory memory,
                          const LayerKinds& kinds) {
  return load_model(dir, read_checkpoint_model(dir, print_warning, kinds), dtype, with_gradients, memory,
                    nullptr, kinds);
}

}  // namespace natrix
