// Field: one key of an experiment, bound to the member that holds its value. Only the list of all fields
// (fields.cpp) knows the keys. Parsing, validation, printing, hashing and documentation use that list.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "configs/schema/experiment.h"

namespace natrix {

/// The value that a YAML file or the command line gives for a key.
struct Value {
  /// An item of a list that is a mapping: its keys and texts.
  using Mapping = std::vector<std::pair<std::string, std::string>>;

  std::vector<std::string> texts;      // one, unless it is a list; that of a mapping is its "path"
  std::map<size_t, Mapping> mappings;  // by the index of the item
  bool is_list = false;
  bool quoted = false;  // "3" is text, 3 is a number
};

/// A value with its type, for files other than YAML. monostate: no value ("auto", "none").
using Scalar = std::variant<std::monostate, bool, int64_t, double, std::string>;

/// What a key of the model means beside a checkpoint that has a value of its own (model.init_from).
enum class BesideCheckpoint {
  kRepeats,    // it describes the weights: a key that is set must agree with the checkpoint
  kReplaces,   // a setting of training: a key that is set replaces the checkpoint's value
  kStaysOnOff  // the same, but 0 and other values cannot replace each other: the weights differ
};

struct Field {
  std::string key;      // "model.mamba.d_state"
  std::string expects;  // "an integer from 1 to 65536": for messages and the documentation
  std::string help;
  bool takes_mappings = false;             // items of its list may be mappings
  bool is_path = false;                    // relative to the file that names it
  bool decides_result = true;              // false: affects only where, how often or how fast; not hashed
  std::vector<std::string> words;          // special words: names of choices, "auto", "none"; no paths
  std::function<bool(const Value&)> read;  // false: not valid, and the member is unchanged
  std::function<std::string()> print;      // as YAML
  std::function<std::string(const Value&)> why_not = {};  // of some fields: why a value is refused
  // Only of fields with one value that has a type of Scalar: all of the model's have.
  std::function<Scalar()> get = {};
  std::function<bool(const Scalar&)> set = {};            // false: not valid, and the member is unchanged
  std::function<std::vector<std::string*>()> paths = {};  // of fields that hold paths: those that are set
  BesideCheckpoint beside_checkpoint = BesideCheckpoint::kRepeats;
  /// Whether our own config.json must have the key. False for keys that came later: a file without one was
  /// written when the program did what the default does.
  bool needed = true;
};

/// Every key in the order of the documentation, bound to `config`, which must outlive the list.
std::vector<Field> fields_of(ExperimentConfig& config);
/// The keys of the block model alone.
std::vector<Field> model_fields_of(ModelConfig& config);

}  // namespace natrix
