// The header of a safetensors file. Parsing checks everything that a reader relies on.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/view.h"

namespace natrix {

struct StoredTensor {
  std::string name;
  Dtype dtype = Dtype::kF32;
  Shape shape;
  int64_t begin = 0, end = 0;  // bytes, counted from the start of the data
};

struct SafetensorsHeader {
  int64_t data_start = 0;             // bytes from the start of the file
  std::vector<StoredTensor> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

/// `file` is the whole file. InputError names `path` and, if one tensor is at fault, the tensor.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& path);

/// Assigns offsets to the tensors. Wider elements come first, so that all are aligned; otherwise the order of
/// `tensors` is kept.
void place_tensors(std::vector<StoredTensor>& tensors);

/// The length and the JSON text, padded so that the data starts at a multiple of eight.
std::string format_safetensors_header(const std::vector<StoredTensor>& tensors,
                                      const std::map<std::string, std::string>& metadata);

}  // namespace natrix
