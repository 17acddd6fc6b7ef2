// The composition root: turns a ModelConfig into a model, with the row
// exchange its MoE layers speak to plugged in.
#pragma once

#include <memory>
#include <string>

#include "core/layers/model.h"
#include "core/ranks/row_exchange.h"
#include "launch/layer_kinds.h"

namespace natrix {

/// A model and what it borrows. Moves as one.
struct AssembledModel {
  std::unique_ptr<RowExchange> exchange;
  std::unique_ptr<Model> model;

  Model* operator->() const { return model.get(); }
  Model& operator*() const { return *model; }
};

/// Layers from config.stack(), named as the HF class that the stack can be saved as. Parameters are
/// allocated in the memory of the context that will run the model, not set. exchange: between the ranks that
/// hold the experts; null, all of them are here.
AssembledModel assemble_model(const ModelConfig& config, Dtype dtype, bool with_gradients,
                              Memory memory = Memory::kHost, std::unique_ptr<RowExchange> exchange = nullptr,
                              const LayerKinds& kinds = builtin_layer_kinds());

/// The same without memory for its parameters: their names and shapes.
AssembledModel describe_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange = nullptr,
                              const LayerKinds& kinds = builtin_layer_kinds());

/// Reads a checkpoint directory (HF layout): config.json and all weights. With `config`, that of the
/// directory (read_model_config) with settings changed that do not concern the weights.
AssembledModel load_model(const std::string& dir, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost);
AssembledModel load_model(const std::string& dir, const ModelConfig& config, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost, std::unique_ptr<RowExchange> exchange = nullptr,
                          const LayerKinds& kinds = builtin_layer_kinds());

}  // namespace natrix
