// Tensors in one safetensors file or in several shards, in Hugging Face's layout:
//
//   STEM.safetensors
//   STEM-00001-of-00003.safetensors, …, and STEM.safetensors.index.json, which maps tensors to files
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/files/safetensors.h"

namespace natrix {

constexpr int64_t kMaxShardBytes = int64_t{4} << 30;

/// The tensors of a directory, in any number of files. Views live as long as this object.
class StoredTensors {
 public:
  struct Tensor {
    View view;
    const std::string* file;
  };
  /// InputError if there are no tensors, or if files and index disagree.
  StoredTensors(const std::string& dir, const std::string& stem);

  /// The path of DIR/STEM.safetensors or of the index.
  const std::string& path() const { return path_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  const Tensor& at(const std::string& name) const { return tensors_.at(name); }

 private:
  void add(const std::string& file);
  void add_shards(const std::string& dir);

  std::string path_;
  std::vector<std::unique_ptr<Safetensors>> files_;
  std::map<std::string, Tensor> tensors_;
};

/// Whether there is a file or an index to read.
bool holds_tensors(const std::string& dir, const std::string& stem);

/// Every file appears complete or not at all; the index appears after its shards. Earlier files and indexes
/// that the new ones do not use are removed.
void write_tensors(const std::string& dir, const std::string& stem, const std::vector<NamedTensor>& tensors,
                   int64_t max_shard_bytes = kMaxShardBytes);

/// The same with several writers into one directory. Each writes its part. When all have finished, one of
/// them joins the parts. No writer needs memory for more than its own tensors.
void write_part(const std::string& dir, const std::string& stem, int64_t writer,
                const std::vector<NamedTensor>& tensors, int64_t max_shard_bytes = kMaxShardBytes);
void join_parts(const std::string& dir, const std::string& stem);

}  // namespace natrix
