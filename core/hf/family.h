// HfFamily: all that Natrix knows of one family of Hugging Face models.
//
// A family is one file of core/hf that fills this record, and one row of the table in families.cpp. What reads
// and writes directories (hf_formats.h, hf_checkpoint.h) asks the record and knows no family by name.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "configs/schema/model.h"
#include "core/files/json.h"
#include "core/layers/param.h"

namespace natrix {

/// The names of a model's tensors. `sublayer` indexes ModelConfig::stack(). A layer appends its own names to
/// its block's prefix: "in_proj.weight", "experts.3.up_proj.weight".
struct HfNames {
  std::string embedding, final_norm, head = "lm_head.weight";
  std::function<std::string(int sublayer)> norm;   // weight of the norm before a sublayer
  std::function<std::string(int sublayer)> block;  // prefix of a sublayer's tensors, ends with '.'
};

struct HfFamily {
  std::string_view model_type;  // in config.json; decides which family reads a file
  std::string_view name;        // for people: the class in transformers
  std::string_view reads;  // for the message that lists what can be read: the class, and what it may not have
  /// Whether config.json has every key of the block model, settings of training included.
  bool holds_training_settings = false;

  /// config.json → model. InputError names the key at fault. Absent keys take the defaults of the HF class,
  /// except for sizes. Sets vocab_size and dt_rank. The result must be one that no family before this one in
  /// the table expresses, or its tensors would be looked for under that family's names.
  ModelConfig (*read)(const JsonObject& config);
  /// Whether this family's config.json can say all of the model but the settings of training.
  bool (*expresses)(const ModelConfig& config);
  /// The keys of config.json for a model that the family expresses: model_type, architectures and the rest
  /// but for hidden_size, vocab_size, tie_word_embeddings, dtype and the ids of tokens.
  nlohmann::json (*write)(const ModelConfig& config);
  HfNames (*names)(const ModelConfig& config);

  /// Where the files hold a part of a parameter if not as a tensor of the part's name and shape: under another
  /// name, or as a slice of a tensor that holds several parts, such as those of all experts. Null: nowhere.
  std::optional<FileSlice> (*slice)(const ModelConfig& config, const ParamPart& part) = nullptr;
  /// Whether a tensor of the files may be left unread although the model has no such part. Null: none may.
  bool (*ignores)(std::string_view tensor) = nullptr;
};

/// In the order of preference: a model is written as the first family that expresses it.
using HfFamilies = std::vector<HfFamily>;

}  // namespace natrix
