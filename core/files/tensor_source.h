// TensorSource: named tensors that can be read one at a time, wherever and however they are stored.
#pragma once

#include <map>
#include <string>

#include "kernels/base/buffer.h"

namespace natrix {

class TensorSource {
 public:
  struct Entry {
    Dtype dtype = Dtype::kF32;  // of the values that read() gives
    Shape shape;
    const std::string* file = nullptr;  // for messages; lives as long as the source
    std::string to_string() const { return View(nullptr, dtype, shape).to_string(); }
  };

  virtual ~TensorSource() = default;
  virtual const std::map<std::string, Entry>& entries() const = 0;
  /// The values of a tensor that the source has, contiguous: a view of a mapped file, or of `space`, which is
  /// then made anew to hold them.
  virtual View read(const std::string& name, Buffer& space) const = 0;

  bool contains(const std::string& name) const { return entries().contains(name); }
  const Entry& entry(const std::string& name) const { return entries().at(name); }
};

}  // namespace natrix
