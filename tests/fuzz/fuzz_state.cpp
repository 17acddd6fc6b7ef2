// Any bytes as a prefix state: refused with InputError, or taken whole.
#include "core/carry/carry_spec.h"
#include "core/io/state_file.h"
#include "memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace natrix;
  const fuzz::MemoryFile input(data, size);
  const CarryList carries = {{.key = {0, 0}, .name = "0.ssm", .spec = {.part = "ssm", .row = {2, 3}}}};
  try {
    read_states(StateFile(input.path(), "0123456789abcdef").tensors(), carries, 1, "");
  } catch (const InputError&) {
  }
  return 0;
}
