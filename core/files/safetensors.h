// safetensors files (https://github.com/huggingface/safetensors):
// 8 bytes of header length, a JSON header, the data.
//
// Reading maps the file and checks the whole header before it hands out anything: sizes are bounded by the
// file's own, offsets must tile the data without overlap or hole, products are overflow-checked. InputError
// names the file and the tensor. Views point into the map (read-only) and live as long as the file object.
// BOOL reads as u8.
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
  View view;  // contiguous or strided rows, in any memory; written contiguous
};

/// Through an AtomicFile: the file appears under `path` complete or not at all. RunError on any I/O failure.
void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// As above for tensors that should not exist in memory at once ([B, T, V] logits of a long text): the header
/// first, then rows appended in the order of `layout`.
class SafetensorsWriter {
 public:
  struct Entry {
    std::string name;
    Dtype dtype;
    Shape shape;
  };
  SafetensorsWriter(const std::string& path, const std::vector<Entry>& layout,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();    // drops what was written unless commit() ran
  void append(View rows);  // the next bytes
  void write_at(const std::string& tensor, int64_t first_element, View rows);  // any order
  void commit();  // checks that all was written, then AtomicFile::commit()

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Copies a stored tensor (F32, F64, BF16 or F16) into f32 or f64 memory, of a device or not, of the same
/// element count. Integers are refused.
void load_float(View stored, View to);

}  // namespace natrix
