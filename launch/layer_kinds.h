// The table of layer kinds: maps each letter of model.pattern to a layer and to the function that makes it.
//
// A new kind needs one file with its layer and one row in this table. No other file compares a letter.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "configs/schema/model.h"
#include "core/layers/layer.h"
#include "core/ranks/row_exchange.h"

namespace natrix {

/// The arguments for making a layer: its place in the stack, and what it may borrow.
struct LayerSite {
  const ModelConfig& config;
  int sublayer;               // index in the stack
  int first_part;             // CarryKey::part of its first carry
  const std::string& prefix;  // start of its tensors' names in the checkpoint
  RowExchange& exchange;      // to the owners of experts; outlives the layer
};

struct LayerKind {
  char letter;
  const char* name;     // for messages: "Mamba-1"
  const char* section;  // section of its settings in the YAML, "model.mamba"; empty if it has none
  std::unique_ptr<Layer> (*make)(const LayerSite&);
  const char* in_group = nullptr;  // part of its tensors' names in "(S*)"; null: it cannot be in a group
  bool has_bf16 = true;            // false: some of its kernels compute in fp32 only
};

class LayerKinds {
 public:
  explicit LayerKinds(std::vector<LayerKind> rows);

  const std::vector<LayerKind>& rows() const { return rows_; }
  /// InputError if a letter of the pattern has no row, or parentheses do not hold mixers. The message names the
  /// letter and lists the known ones.
  /// `where`: the key and the file that set the pattern.
  void check(const std::string& pattern, const std::string& where = "model.pattern") const;
  /// The kinds in this stack that cannot run in bf16, as "S (Mamba-2), * (attention)"; or empty.
  std::string without_bf16(const std::string& stack) const;
  /// InputError if the stack has such a kind.
  void check_bf16(const std::string& stack) const;
  /// Whether a key of the configuration matters to this stack: false for settings of layers that it lacks.
  bool uses(const std::string& stack, const std::string& key) const;
  /// letters: one, or those of mixers in parallel (ModelConfig::sublayers()).
  std::unique_ptr<Layer> make(const std::string& letters, const LayerSite& site) const;

 private:
  std::unique_ptr<Layer> make_group(const std::string& letters, const LayerSite& site) const;
  void check_groups(const std::string& pattern, const std::string& where) const;
  std::string known_letters() const;
  const LayerKind* find(char letter) const;  // null if there is none

  std::vector<LayerKind> rows_;
};

/// The kinds that Natrix comes with.
const LayerKinds& builtin_layer_kinds();

}  // namespace natrix
