// Writing any ModelSource as a Hugging Face directory, a few tensors at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/hf/hf_checkpoint.h"
#include "core/hf/model_source.h"

namespace natrix {

/// Writes all tensors of `source` into `dir`, which must exist, each in the dtype that `dtype_of` gives for its
/// name (f32, bf16 or f16), and the texts. Files hold about `shard_bytes`, and that much memory is needed for
/// tensors that are not stored as they are written.
void export_hf_directory(const std::string& dir, const ModelSource& source, const ModelTexts& texts,
                         const std::function<Dtype(const std::string&)>& dtype_of,
                         int64_t shard_bytes = int64_t{1} << 30);

/// A config.json whose key dtype (or torch_dtype) names `dtype`. The text stays as it is if it does already.
std::string with_dtype(const std::string& config, Dtype dtype);

}  // namespace natrix
