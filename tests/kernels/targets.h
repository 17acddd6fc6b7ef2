// Tests that run once for every instruction set this machine has:
//
//   using ScanTargets = OnEveryTarget;
//   INSTANTIATE_TEST_SUITE_P(Targets, ScanTargets, ::testing::ValuesIn(targets()), target_name);
//   TEST_P(ScanTargets, …)
#pragma once

#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace natrix::test {

/// Highway's ids of the instruction sets that kernels are compiled for and that this machine can run, best
/// first.
std::vector<int64_t> targets();
std::string target_name(const ::testing::TestParamInfo<int64_t>& target);

/// While a test runs, kernels take its parameter's instruction set.
class OnEveryTarget : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override;
  void TearDown() override;
};

}  // namespace natrix::test
