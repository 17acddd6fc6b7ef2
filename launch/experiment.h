// Experiment: a configuration in which everything that the YAML leaves open is resolved, with its
// tokenizer and models.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "configs/schema/load.h"
#include "core/text/conversation.h"
#include "core/text/corpus.h"
#include "core/tokenizers/tokenizer.h"
#include "launch/assemble.h"
#include "launch/warning.h"

namespace natrix {

struct Experiment {
  LoadedConfig loaded;                   // the same with the origin of each value, for printing
  ExperimentConfig config;               // resolved: model from init_from, vocabulary from the tokenizer
  std::unique_ptr<Tokenizer> tokenizer;  // null if data.batches holds tokens that are not bytes
  std::unique_ptr<ConversationTemplate> conversations;  // of the tokenizer's directory; null if it has none
  /// The directory of model.init_from, or empty. If that directory is gone and the run in run.dir has
  /// checkpoints, this is the newest of those.
  std::string init_dir;
  const LayerKinds* kinds = nullptr;  // the meaning of the pattern's letters; never null

  Backend backend() const;
  Dtype dtype() const;
  int threads() const;
  Context context() const;
  /// How data.train and data.eval are read. first: false on ranks that leave making tokens to another.
  ReadOptions read_options(bool first, bool quiet) const;
  /// The model without allocated parameters: their names and shapes, and the carried states.
  AssembledModel describe() const;
  /// The model with its first weights: those of init_from, or random ones from train.seed.
  /// exchange: between the ranks that own the experts; null if this rank owns all of them.
  AssembledModel make_model(std::unique_ptr<RowExchange> exchange = nullptr) const;
  /// The model with random weights from train.seed, regardless of init_from. A resumed run uses it and then
  /// reads the weights of its checkpoint.
  AssembledModel make_fresh_model(std::unique_ptr<RowExchange> exchange) const;
};

/// InputError if parts of the configuration contradict each other, this build, or the number of ranks. `warn`
/// is called for faults of init_from's checkpoint that can be corrected.
Experiment resolve_experiment(LoadedConfig loaded, int ranks = 1,
                              const std::function<void(const std::string&)>& warn = print_warning,
                              const LayerKinds& kinds = builtin_layer_kinds());

}  // namespace natrix
