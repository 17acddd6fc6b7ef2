// The composition root: turns a ModelConfig into a model, and connects its MoE layers to a row exchange.
#pragma once

#include <memory>
#include <string>

#include "core/layers/model.h"
#include "core/ranks/row_exchange.h"
#include "launch/layer_kinds.h"

namespace natrix {

/// A model together with the exchange that it borrows.
struct AssembledModel {
  std::unique_ptr<RowExchange> exchange;
  std::unique_ptr<Model> model;

  Model* operator->() const { return model.get(); }
  Model& operator*() const { return *model; }
};

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
/// the directory (read_model_config); only settings that do not concern the weights may differ.
AssembledModel load_model(const std::string& dir, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost);
AssembledModel load_model(const std::string& dir, const ModelConfig& config, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost, std::unique_ptr<RowExchange> exchange = nullptr,
                          const LayerKinds& kinds = builtin_layer_kinds());

}  // namespace natrix
