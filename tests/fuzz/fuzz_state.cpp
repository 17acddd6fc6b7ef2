// Any bytes as a prefix state: refused with InputError, or taken whole.
#include "core/io/state_file.h"
#include "kernels/base/buffer.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace natrix;
  const fuzz::MemoryFile input(data, size);
  const Buffer state(Dtype::kF32, {1, 2, 3});
  try {
    read_state_file(input.path(), "0123456789abcdef", {{"0.ssm", state.view()}});
  } catch (const InputError&) {
  }
  return 0;
}
