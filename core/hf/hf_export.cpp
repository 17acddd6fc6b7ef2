#include "core/hf/hf_export.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "core/files/json.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

constexpr const char* kStem = "model";

/// A tensor in `dtype`: as it is stored, or in a buffer of its own.
Buffer converted(View stored, Dtype dtype) {
  const Buffer wide(Dtype::kF32, stored.shape);
  load_float(stored, wide.view());
  Buffer to(dtype, stored.shape);
  store_float(wide.view(), to.view());
  return to;
}

const char* torch_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16: return "bfloat16";
    case Dtype::kF16: return "float16";
    default: return "float32";
  }
}

}  // namespace

void export_hf_directory(const std::string& dir, const ModelSource& source, const ModelTexts& texts,
                         const std::function<Dtype(const std::string&)>& dtype_of, int64_t shard_bytes) {
  require(source.tensors != nullptr, "a model without weights is written");
  int64_t writer = 0, bytes = 0;
  std::vector<NamedTensor> tensors;
  std::vector<Buffer> owned;  // what the tensors' views point into
  const auto write = [&] {
    write_part(dir, kStem, writer++, tensors, INT64_MAX);
    tensors.clear();
    owned.clear();
    bytes = 0;
  };
  for (const auto& [name, entry] : source.tensors->entries()) {
    Buffer space;
    View values = source.tensors->read(name, space);
    if (values.dtype != dtype_of(name)) {
      space = converted(values, dtype_of(name));
      values = space.view();
    }
    if (space) owned.push_back(std::move(space));
    tensors.push_back({name, values});
    bytes += values.bytes();
    if (bytes >= shard_bytes) write();
  }
  if (!tensors.empty()) write();
  join_weights(dir, texts);
}

std::string with_dtype(const std::string& config, Dtype dtype) {
  nlohmann::json j = parse_json(config, "config.json", NonFinite::kTagged);
  const char* key = j.contains("dtype") || !j.contains("torch_dtype") ? "dtype" : "torch_dtype";
  if (j.contains(key) && j[key] == torch_name(dtype)) return config;
  j[key] = torch_name(dtype);
  return j.dump(2) + "\n";
}

}  // namespace natrix
