// A test that fails prints the seed of the order in which threads ran.
#include <cstdio>
#include <gtest/gtest.h>

#include "cuda_runtime.h"

namespace {

class PrintSeed : public ::testing::EmptyTestEventListener {
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::printf("cuda emulation: NATRIX_CUDA_SEED=%llu repeats the order of threads\n",
                static_cast<unsigned long long>(cuda_emulation::seed()));
  }
};

[[maybe_unused]] const bool kListens = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new PrintSeed);
  return true;
}();

}  // namespace
