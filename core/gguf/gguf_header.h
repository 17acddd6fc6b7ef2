// The header of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3,
// little-endian.
//
//   "GGUF", version, number of tensors, number of metadata entries
//   metadata   entries of key, type, value
//   table      entries of name, extents, type, offset
//   data       starts at a multiple of the alignment, and so does each tensor
//
// Everything is checked before it is used: counts and lengths against the bytes that are left, extents for
// overflow, types, and that the tensors follow each other in the table's order without overlap or hole. What
// a damaged header claims is never allocated: memory grows only with the entries that were found. Every error is
// an InputError with the file and the byte, key or tensor at fault.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/gguf/gguf_types.h"

namespace natrix {

/// One value of the metadata. `bytes` are its bytes in the file: for a text without its length, for an array
/// the elements (each text with its length before it).
struct GgufValue {
  GgufValueType type = GgufValueType::kU8;
  GgufValueType element = GgufValueType::kU8;  // of an array
  int64_t count = 1;                           // elements of an array
  std::string_view bytes;
};

struct GgufTensor {
  GgufType type = GgufType::kF32;
  std::vector<int64_t> extents;  // in the order of the file: the contiguous dimension comes first
  std::string_view bytes;

  int64_t count() const;          // elements
  std::string to_string() const;  // "Q4_K[256, 40]"
};

struct GgufHeader {
  using Metadata = std::map<std::string, GgufValue, std::less<>>;
  using Tensors = std::map<std::string, GgufTensor, std::less<>>;
  uint32_t version = 0;
  Metadata metadata;
  Tensors tensors;
};

/// `file` is the whole file; the result views it. InputError names `origin`.
GgufHeader parse_gguf_header(std::string_view file, const std::string& origin);

}  // namespace natrix
