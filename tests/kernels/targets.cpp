#include "tests/kernels/targets.h"

// The list of instruction sets must precede what reads it.
// clang-format off
#include "kernels/cpu/simd_targets.h"
#include <hwy/targets.h>
// clang-format on

#include "tests/kernels/cases.h"

namespace natrix::test {

std::vector<int64_t> targets() {
  return hwy::SupportedAndGeneratedTargets();
}

std::vector<int64_t> every_target() {
  std::vector<int64_t> all = targets();
  if (has_cuda()) all.push_back(kCudaTarget);
  return all;
}

std::string target_name(const ::testing::TestParamInfo<int64_t>& target) {
  return target.param == kCudaTarget ? "cuda" : hwy::TargetName(target.param);
}

void OnEveryTarget::SetUp() {
  if (GetParam() != kCudaTarget) hwy::SetSupportedTargetsForTest(GetParam());
}
void OnEveryTarget::TearDown() {
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace natrix::test
