// The composition root: turns a ModelConfig into a model, and connects its MoE layers to a row exchange.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/layers/model.h"
#include "core/ranks/row_exchange.h"
#include "launch/layer_kinds.h"
#include "launch/warning.h"

namespace natrix {

/// A model together with the exchange that it borrows.
struct AssembledModel {
  std::unique_ptr<RowExchange> exchange;
  std::unique_ptr<Model> model;

  Model* operator->() const { return model.get(); }
  Model& operator*() const { return *model; }
};

/// The model of a checkpoint directory: read_model_config(). InputError with the path of config.json if the
/// stack has a letter without a layer. Every command reads a checkpoint's config.json here.
ModelConfig read_checkpoint_model(const std::string& dir,
                                  const std::function<void(const std::string&)>& warn = print_warning,
                                  const LayerKinds& kinds = builtin_layer_kinds());

/// Makes the layers of config.stack(). Tensors have the names of the HF class that the stack can be saved as.
/// Parameters are allocated in `memory`, which must be that of the context that will run the model, but not
/// initialised. exchange: between the ranks that own the experts; null if this rank owns all of them.
AssembledModel assemble_model(const ModelConfig& config, Dtype dtype, bool with_gradients,
                              Memory memory = Memory::kHost, std::unique_ptr<RowExchange> exchange = nullptr,
                              const LayerKinds& kinds = builtin_layer_kinds());

/// The same without allocating parameters, which have only names and shapes.
AssembledModel describe_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange = nullptr,
                              const LayerKinds& kinds = builtin_layer_kinds());

/// Reads a checkpoint directory in HF layout: config.json and all weights. A given `config` must be that of
/// the directory (read_checkpoint_model); only settings that do not concern the weights may differ.
AssembledModel load_model(const std::string& dir, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost, const LayerKinds& kinds = builtin_layer_kinds());
AssembledModel load_model(const std::string& dir, const ModelConfig& config, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost, std::unique_ptr<RowExchange> exchange = nullptr,
                          const LayerKinds& kinds = builtin_layer_kinds());

}  // namespace natrix
