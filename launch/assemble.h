// The composition root: turns a ModelConfig into a model, with the row
// exchange its MoE layers speak to plugged in.
#pragma once

#include <memory>
#include <string>

#include "core/layers/model.h"
#include "core/row_exchange.h"

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
                              Memory memory = Memory::kHost, std::unique_ptr<RowExchange> exchange = nullptr);

/// The same without memory for its parameters: their names and shapes.
AssembledModel describe_model(const ModelConfig& config, std::unique_ptr<RowExchange> exchange = nullptr);

/// Reads a checkpoint directory (HF layout): config.json and all weights. With `config`, that of the
/// directory with settings changed that do not concern the weights.
AssembledModel load_model(const std::string& dir, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost);
AssembledModel load_model(const std::string& dir, const ModelConfig& config, Dtype dtype, bool with_gradients,
                          Memory memory = Memory::kHost, std::unique_ptr<RowExchange> exchange = nullptr);

/// After an optimizer step: bias balancing of every MoE layer that uses it.
void update_router_biases(Model& model, const StepTally& tally);

/// Whether a gradient step of this model needs the whole step's expert counts.
bool needs_tally(const ModelConfig& config);

}  // namespace natrix
