// safetensors files (https://github.com/huggingface/safetensors): 8 bytes of header length, a JSON
// header, the data.
//
// Reading maps the file and checks the whole header first. Sizes must not exceed the file, offsets must cover
// the data without overlap or gap, and products are checked for overflow. InputError names the file and the
// tensor. Views point into the read-only map and live as long as the file object. BOOL reads as u8.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/view.h"

namespace natrix {

class Safetensors {
 public:
  explicit Safetensors(const std::string& path);
  ~Safetensors();
  Safetensors(Safetensors&&) noexcept;
  Safetensors& operator=(Safetensors&&) noexcept;

  const std::string& path() const { return path_; }
  const std::map<std::string, View>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  /// InputError if absent.
  View at(const std::string& name) const;

 private:
  struct Memory;
  std::string path_;
  std::unique_ptr<Memory> memory_;  // what the views point into
  std::map<std::string, View> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  View view;  // contiguous or strided rows, in any memory; written contiguously
};

/// Writes through an AtomicFile: the file appears complete or not at all. RunError on any I/O failure.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// Like write_safetensors(), for tensors that do not fit in memory at once, such as the [B, T, V] logits of a
/// long text. Writes the header first; then rows are appended in the order of `layout`.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    Dtype dtype;
    Shape shape;
  };
  SafetensorsWriter(const std::string& path, const std::vector<Entry>& layout,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();    // discards the file unless commit() ran
  void append(View rows);  // the next bytes
  void write_at(const std::string& tensor, int64_t first_element, View rows);  // any order
  void commit();  // checks that all data were written, then calls AtomicFile::commit()

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Copies a stored tensor (F32, F64, BF16 or F16) into f32 or f64 memory on the host or a device. Both must
/// have the same number of elements. Integers are refused.
void load_float(View stored, View to);
/// Rounds f32 values to f32, bf16 or f16, to nearest and ties to even. Both lie on the host.
void store_float(View values, View to);

}  // namespace natrix
