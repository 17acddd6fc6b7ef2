// Tests that run once for every instruction set this machine has, and on the device of a build with CUDA:
//
//   using ScanTargets = OnEveryTarget;
//   INSTANTIATE_TEST_SUITE_P(Targets, ScanTargets, ::testing::ValuesIn(every_target()), target_name);
//   TEST_P(ScanTargets, …)
#pragma once

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/base/context.h"

namespace natrix::test {

/// Highway's ids of the instruction sets that kernels are compiled for and that this machine can run, best
/// first.
std::vector<int64_t> targets();
/// And kCudaTarget, where backend cuda is built and finds a device.
std::vector<int64_t> every_target();
inline constexpr int64_t kCudaTarget = -1;
std::string target_name(const ::testing::TestParamInfo<int64_t>& target);

/// While a test runs, kernels take its parameter's instruction set.
class OnEveryTarget : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override;
  void TearDown() override;
  Backend backend() const { return GetParam() == kCudaTarget ? Backend::kCuda : Backend::kCpu; }
};

}  // namespace natrix::test
