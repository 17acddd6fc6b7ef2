// Scale: every element times a factor, in strided rows, in place too.
#include "kernels/scale.h"

#include <gtest/gtest.h>

#include "tests/kernels/operands.h"

namespace natrix::test {
namespace {

class Scales : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Scales, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

TEST_P(Scales, MultipliesEveryElement) {
  Random random;
  Context ctx(GetParam());
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {5, 19}, {300, 64}}) {
    const Buffer x = random.normal(Dtype::kF32, {rows, cols}), before = poisoned(Dtype::kF32, {rows, cols});
    const StridedCopy from(x.view()), to(before.view()), both(x.view());
    scale(ctx, {.x = from.view(), .factor = 0.3, .y = to.view()});
    scale(ctx, {.x = both.view(), .factor = 0.3, .y = both.view()});
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        EXPECT_FLOAT_EQ(to.view().row<float>(r)[c], 0.3f * x.view().row<float>(r)[c]);
        EXPECT_EQ(both.view().row<float>(r)[c], to.view().row<float>(r)[c]);
      }
    }
    EXPECT_TRUE(to.padding_untouched() && both.padding_untouched());
  }
}

TEST_P(Scales, RefusesWhatBreaksItsContract) {
  Context ctx(GetParam());
  const Buffer x(Dtype::kF32, {3, 4}), other(Dtype::kF32, {3, 5}), wide(Dtype::kF64, {3, 4});
  EXPECT_THROW(scale(ctx, {.x = x.view(), .factor = 2, .y = other.view()}), ContractError);
  EXPECT_THROW(scale(ctx, {.x = x.view(), .factor = 2, .y = wide.view()}), ContractError);
}

}  // namespace
}  // namespace natrix::test
