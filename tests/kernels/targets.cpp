#include "tests/kernels/targets.h"

// The list of instruction sets must precede what reads it.
// clang-format off
#include "kernels/cpu/simd_targets.h"
#include <hwy/targets.h>
// clang-format on

namespace natrix::test {

std::vector<int64_t> targets() {
  return hwy::SupportedAndGeneratedTargets();
}

std::string target_name(const ::testing::TestParamInfo<int64_t>& target) {
  return hwy::TargetName(target.param);
}

void OnEveryTarget::SetUp() {
  hwy::SetSupportedTargetsForTest(GetParam());
}
void OnEveryTarget::TearDown() {
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace natrix::test
