// Any text as a list of files: a checkpoint's manifest.json, and the index of a sharded model. Refused with
// InputError, or true. (That no path leads out of the directory is for the unit tests.)
#include <filesystem>
#include <fstream>

#include "core/hf/hf_checkpoint.h"
#include "core/io/checkpoint_dir.h"
#include "kernels/base/buffer.h"

namespace {

// A checkpoint of one tensor that the listings can name; removed when the fuzzer ends.
struct Directory {
  Directory() {
    if (mkdtemp(path.data()) == nullptr) std::abort();
    const natrix::Buffer weights(natrix::Dtype::kF32, {2});
    natrix::write_safetensors(path + "/a.safetensors", {{"w", weights.view()}});
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path = (std::filesystem::temp_directory_path() / "natrix-fuzz-XXXXXX").string();
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace natrix;
  static const Directory directory;
  const std::string& dir = directory.path;
  for (const char* name : {"/manifest.json", "/model.safetensors.index.json"}) {
    std::ofstream(dir + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  try {
    verify_checkpoint(dir);
  } catch (const InputError&) {
  }
  Param w;
  w.parts = {{"w", {2}, 0}};
  ModelConfig config;
  config.pattern = "M";
  try {
    check_weights(dir, config, {&w});
  } catch (const InputError&) {
  }
  return 0;
}
