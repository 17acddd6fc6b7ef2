// The weights of a model in a Hugging Face directory: model.safetensors,
// or shards and model.safetensors.index.json.
//
// Names and shapes are the ParamParts'. A directory must hold exactly the model's tensors: one that is
// missing, unexpected or of another shape is an InputError that lists the first few.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "configs/model.h"
#include "core/io/shards.h"
#include "core/layers/param.h"

namespace natrix {

/// Compares the files' headers with the model. Needs no Param::value: call it before allocating, so that a
/// config.json that asks for more than the files hold ends in a message and not in the allocator. A tied
/// model's lm_head.weight, which some writers store beside the embedding, may be there.
void check_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params);

/// As check_weights, then fills Param::value (f32 or f64) from F32, F64, BF16 or F16.
void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params);

/// As load_weights for a rank that holds a share of the model's experts: the directory is compared with all
/// of the model's parameters (which need no values), and this rank's `own` are filled.
void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& own,
                  const std::vector<Param*>& all);

/// The texts that stand beside the weights; empty ones are not written.
struct ModelTexts {
  std::string config, tokenizer = {}, tokenizer_config = {};  // config.json, tokenizer.json, …
};

/// Writes a whole directory, which must exist: the weights in the dtype they have in memory, config.json,
/// generation_config.json, tokenizer.json. Every file appears complete or not at all, the index after its
/// shards; files of an earlier save that the new one does not use are removed.
void save_weights(const std::string& dir, const std::vector<Param*>& params, const ModelTexts& texts,
                  int64_t max_shard_bytes = kMaxShardBytes);

/// The same by several writers: each writes the parameters that are its to write, and when all have, one
/// joins them and adds what stands beside.
void save_weights_part(const std::string& dir, int64_t writer, const std::vector<Param*>& params);
void join_weights(const std::string& dir, const ModelTexts& texts);

/// All parts under their names in the checkpoint; `which` is &Param::value or &Param::grad.
std::vector<NamedTensor> named_parts(const std::vector<Param*>& params, View Param::*which);

/// The identity of a model: 16 hex digits over the names, shapes, dtypes and bytes of all weights.
std::string hash_weights(const std::vector<Param*>& params);

}  // namespace natrix
