// The weights of a model in a Hugging Face directory (model.safetensors, or shards and
// model.safetensors.index.json) or in any other ModelSource.
//
// Names and shapes are the ParamParts', or those of the tensors that the parts are slices of. A directory must
// hold exactly the model's tensors: one that is missing, unexpected or of another shape is an InputError that
// lists the first few.
//
// A tied head is the embedding, of which the files may hold either name or both. Where they hold both and the
// two differ, config.json is wrong, and the head is a weight of its own: as in transformers (tie_weights()).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "configs/schema/model.h"
#include "core/files/shards.h"
#include "core/hf/families.h"
#include "core/hf/model_source.h"
#include "core/layers/param.h"
#include "kernels/base/buffer.h"

namespace natrix {

/// The model of a directory: read_hf_config(), with the head untied where the weights say so. `warn` hears of
/// that. Two values are equal if they are as numbers, whatever their dtypes; the first difference ends the
/// comparison. What loads weights asks this, and not read_hf_config(). A directory may lack its weights.
ModelConfig read_model_config(const ModelSource& source, const std::function<void(const std::string&)>& warn);
ModelConfig read_model_config(const std::string& dir, const std::function<void(const std::string&)>& warn);

/// Compares the files' headers with the model. Needs no Param::value: call it before allocating, so that a
/// config.json that asks for more than the files hold ends in a message and not in the allocator. A tied
/// model's files may hold the embedding, lm_head.weight in its place, or both.
void check_weights(const ModelSource& source, const ModelConfig& config, const std::vector<Param*>& params);
void check_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params);

/// As check_weights, then fills Param::value (f32 or f64) from F32, F64, BF16 or F16.
void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& params);

/// As load_weights for a rank that holds a share of the model's experts: the directory is compared with all
/// of the model's parameters (which need no values), and this rank's `own` are filled.
void load_weights(const ModelSource& source, const ModelConfig& config, const std::vector<Param*>& own,
                  const std::vector<Param*>& all, const HfFamilies& families = hf_families());
void load_weights(const std::string& dir, const ModelConfig& config, const std::vector<Param*>& own,
                  const std::vector<Param*>& all, const HfFamilies& families = hf_families());

/// The texts that stand beside the weights.
struct ModelTexts {
  std::string config;                                 // config.json
  std::map<std::string, std::string> tokenizer = {};  // tokenizer.json, …: a file's name and its content
};

/// Writes a whole directory, which must exist: the weights in the dtype they have in memory, config.json,
/// generation_config.json, the tokenizer's files. Every file appears complete or not at all, the index after
/// its shards; files of an earlier save that the new one does not use are removed.
void save_weights(const std::string& dir, const std::vector<Param*>& params, const ModelTexts& texts,
                  int64_t max_shard_bytes = kMaxShardBytes);

/// The same by several writers: each writes the parameters that are its to write, and when all have, one
/// joins them and adds what stands beside.
void save_weights_part(const std::string& dir, int64_t writer, const std::vector<Param*>& params);
void join_weights(const std::string& dir, const ModelTexts& texts);

/// All parts under their own names; `which` is &Param::value or &Param::grad, which buffers do not have.
std::vector<NamedTensor> named_parts(const std::vector<Param*>& params, View Param::*which);

/// The same as the tensors of the files. Parts that are slices of one tensor are copied into it; all of them
/// must be among `params`. Lives as long as the list is used.
class FileTensors {
 public:
  FileTensors(const std::vector<Param*>& params, View Param::*which);
  FileTensors(const FileTensors&) = delete;
  FileTensors& operator=(const FileTensors&) = delete;
  const std::vector<NamedTensor>& list() const { return list_; }

 private:
  struct Merged {
    size_t at = 0;
    int64_t filled = 0;
  };
  std::vector<NamedTensor> list_;
  std::vector<Buffer> merged_;
};

/// The identity of a model: 16 hex digits over the names, shapes, dtypes and bytes of all weights.
std::string hash_weights(const std::vector<Param*>& params);

}  // namespace natrix
