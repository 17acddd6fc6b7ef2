#include "core/files/safetensors.h"

#include <fmt/format.h>

#include "core/files/json.h"
#include "core/files/mapped_file.h"
#include "core/files/safetensors_header.h"
#include "kernels/base/buffer.h"

namespace natrix {

// The format does not guarantee alignment. A misaligned tensor is copied. Files of current writers have none.
struct Safetensors::Memory {
  explicit Memory(const std::string& path) : file(path) {}

  View view_of(const StoredTensor& t, int64_t data_start) {
    const char* bytes = file.data() + data_start + t.begin;
    if (reinterpret_cast<uintptr_t>(bytes) % static_cast<uintptr_t>(size_of(t.dtype)) == 0) {
      return View(const_cast<char*>(bytes), t.dtype, t.shape);
    }
    const Buffer& aligned = copies.emplace_back(t.dtype, t.shape);
    std::memcpy(aligned.view().data, bytes, static_cast<size_t>(t.end - t.begin));
    return aligned.view();
  }

  MappedFile file;
  std::vector<Buffer> copies;
};

Safetensors::Safetensors(const std::string& path) : path_(path), memory_(std::make_unique<Memory>(path)) {
  SafetensorsHeader header = parse_safetensors_header(memory_->file.text(), path);
  for (const StoredTensor& t : header.tensors) tensors_[t.name] = memory_->view_of(t, header.data_start);
  metadata_ = std::move(header.metadata);
}

Safetensors::~Safetensors() = default;
Safetensors::Safetensors(Safetensors&&) noexcept = default;
Safetensors& Safetensors::operator=(Safetensors&&) noexcept = default;

View Safetensors::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  throw InputError(fmt::format("{}: tensor {} is missing; the file {}", path_, excerpt(name),
                               tensors_.empty()
                                   ? "holds none"
                                   : fmt::format("holds {} tensor(s), the first is {}", tensors_.size(),
                                                 excerpt(tensors_.begin()->first))));
}

}  // namespace natrix
