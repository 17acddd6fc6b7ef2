// Any bytes as a safetensors file: refused with InputError, or its tensors tile the data and can be read.
//
// A map is padded with zeros to its page, so a sanitizer does not see a read just past the file's end. The
// header is therefore parsed from the fuzzer's own buffer, which is guarded, and what it promises is checked
// here.
#include "core/files/safetensors.h"
#include "core/files/safetensors_header.h"
#include "kernels/base/buffer.h"
#include "memory_file.h"

namespace natrix {
namespace {

void check_header(std::string_view file) {
  const SafetensorsHeader header = parse_safetensors_header(file, "input");
  int64_t next = header.data_start;
  for (const StoredTensor& t : header.tensors) {
    require(header.data_start + t.begin == next && t.end - t.begin == t.shape.count() * size_of(t.dtype),
            "a tensor that is not where the one before it ends");
    next = header.data_start + t.end;
  }
  require(next == static_cast<int64_t>(file.size()), "the tensors are not the whole file");
}

void read_all(const std::string& path) {
  const Safetensors file(path);
  for (const auto& [name, view] : file.tensors()) {
    const Buffer own(view.dtype, view.shape);
    copy(view, own.view());
    const bool integer = view.dtype == Dtype::kI32 || view.dtype == Dtype::kI64 || view.dtype == Dtype::kU8;
    if (!integer) load_float(view, Buffer(Dtype::kF64, view.shape).view());
  }
}

}  // namespace
}  // namespace natrix

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace natrix;
  try {
    check_header({reinterpret_cast<const char*>(data), size});
    read_all(fuzz::MemoryFile(data, size).path());
  } catch (const InputError&) {
  }
  return 0;
}
