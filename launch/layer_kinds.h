// The table of layer kinds: which letter of model.pattern stands for which layer, and how that layer is made.
//
// Nothing else interprets a letter. A new kind is a file with its layer and a row here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "configs/schema/model.h"
#include "core/layers/layer.h"
#include "core/ranks/row_exchange.h"

namespace natrix {

/// Where a layer is made: its place in the stack, and what it may borrow.
struct LayerSite {
  const ModelConfig& config;
  int sublayer;               // index in the stack
  const std::string& prefix;  // of its tensors' names in the checkpoint
  RowExchange& exchange;      // to the owners of experts; outlives the layer
};

struct LayerKind {
  char letter;
  const char* name;     // for messages: "Mamba-1"
  const char* section;  // of its settings in the YAML, "model.mamba"; empty if it has none
  std::unique_ptr<Layer> (*make)(const LayerSite&);
};

class LayerKinds {
 public:
  explicit LayerKinds(std::vector<LayerKind> rows);

  const std::vector<LayerKind>& rows() const { return rows_; }
  /// InputError for a letter of the pattern that no row has: it names the letter and lists the others.
  /// `origin` says where the pattern was set, and may be empty.
  void check(const std::string& pattern, const std::string& origin = {}) const;
  /// Whether a key of the configuration matters to a model of this stack: false for the settings of layers
  /// that the stack does not have.
  bool uses(const std::string& stack, const std::string& key) const;
  std::unique_ptr<Layer> make(char letter, const LayerSite& site) const;

 private:
  const LayerKind* find(char letter) const;  // null where there is none

  std::vector<LayerKind> rows_;
};

/// The kinds that Natrix comes with.
const LayerKinds& builtin_layer_kinds();

}  // namespace natrix
