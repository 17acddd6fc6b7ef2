// A model in a GGUF file, as a ModelSource: the config.json of its Hugging Face family, and tensors under the
// family's names, with the values they have there.
//
// Metadata of our own, all under "natrix.":
//
//   natrix.config        the text of config.json. Used while the architecture's keys say the same as it does.
//   natrix.dtype         the dtype of most tensors in Hugging Face: "f32", "bf16" or "f16"
//   natrix.dtype.DTYPE   the names of the tensors of another dtype
//   natrix.ulps.NAME, natrix.source.NAME   source_values.h
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/gguf/gguf_file.h"
#include "core/hf/model_source.h"

namespace natrix {

constexpr const char* kConfigKey = "natrix.config";
constexpr const char* kDtypeKey = "natrix.dtype";

/// InputError if the file is malformed, its architecture is not known, or a key or tensor does not fit it.
/// Tensors are expanded to f32 when they are read, one at a time; F32, BF16 and F16 tensors whose values are
/// those of Hugging Face are read where they lie. The source keeps the file mapped.
ModelSource open_gguf(const std::string& path);
ModelSource open_gguf(const std::shared_ptr<const GgufFile>& file);

/// Of each tensor of such a source the dtype that it had in Hugging Face. For a file that natrix did not write:
/// the dtype that the source gives.
std::map<std::string, Dtype> hf_dtypes(const GgufFile& file, const TensorSource& tensors);

/// "f32", "bf16" or "f16".
Dtype float_dtype(const GgufFile& file, std::string_view name);

}  // namespace natrix
