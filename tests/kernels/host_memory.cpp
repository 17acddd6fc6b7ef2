// Linked into the tests of kernels, whose operands lie with the host.
#include "tests/kernels/cases.h"

namespace natrix::test {

bool kernels_get_host_memory() {
  return true;
}

}  // namespace natrix::test
