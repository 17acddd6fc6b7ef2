// GgufKeys: visits the metadata of one architecture, to read them into a ModelConfig or to write them from it.
//
// Each architecture lists its keys once, in a function that takes a GgufKeys. Keys are named without the
// architecture's prefix: "ssm.state_size" is "mamba.ssm.state_size" in the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/gguf/gguf_file.h"
#include "core/gguf/gguf_writer.h"

namespace natrix {

class GgufKeys {
 public:
  /// Reads from `file`, which must outlive this object.
  GgufKeys(const GgufFile& file, std::string_view architecture);
  /// Writes into `out`, which must outlive this object. `context`: what to give as the model's context length.
  GgufKeys(GgufMetadata& out, std::string_view architecture, int64_t context);

  bool reading() const { return file_ != nullptr; }
  int64_t context() const { return context_; }

  /// Reads the key into `value`, or writes it. When reading, InputError if the value is out of bounds, or if
  /// the key is missing and there is no fallback.
  void integer(const std::string& key, int64_t& value, int64_t least, int64_t most,
               std::optional<int64_t> fallback = {}) const;
  /// Numbers are f32 in the file. The one read is the decimal number of the fewest digits that gives this f32.
  void number(const std::string& key, double& value, double least, double most,
              std::optional<double> fallback = {}) const;
  void boolean(const std::string& key, bool& value, std::optional<bool> fallback = {}) const;
  /// The key must be there.
  void text(const std::string& key, std::string& value) const;
  /// One integer a layer. `values` has as many elements as the model has layers. Files may also hold one for all.
  void per_layer(const std::string& key, std::vector<int64_t>& values, int64_t least, int64_t most) const;
  /// One integer for all layers; files may also hold one a layer, which is zero where it has no meaning.
  void for_all_layers(const std::string& key, int64_t layers, int64_t& value, int64_t least,
                      int64_t most) const;
  /// What llama.cpp wants to be there and natrix knows without it: written, and not read.
  void constant(const std::string& key, int64_t value) const;

  /// Of the file that is read: whether it has the key, and whether a layer has a tensor of this name
  /// ("ssm_in.bias").
  bool has(const std::string& key) const;
  bool any_layer_has(std::string_view tensor) const;
  bool has_tensor(std::string_view name) const;
  [[noreturn]] void fail(const std::string& key, std::string_view expected) const;
  const GgufFile& file() const { return *file_; }

 private:
  std::string full(const std::string& key) const { return prefix_ + key; }

  const GgufFile* file_ = nullptr;
  GgufMetadata* out_ = nullptr;
  std::string prefix_;
  int64_t context_ = 0;
};

}  // namespace natrix
