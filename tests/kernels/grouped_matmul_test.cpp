// Products by expert: the same as one product after another, whatever the sizes of the groups; and the column
// sum.
#include <gtest/gtest.h>
#include <numeric>

#include "kernels/matmul.h"
#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

std::string hint(const Random& random) {
  return "seed " + std::to_string(random.seed());
}

/// Sizes 0 … 40, a third of them empty.
std::vector<int64_t> random_offsets(Random& random, int64_t groups) {
  std::vector<int64_t> offsets{0};
  for (int64_t e = 0; e < groups; ++e) {
    offsets.push_back(offsets.back() + (random.integer(0, 2) == 0 ? 0 : random.integer(1, 40)));
  }
  return offsets;
}

View matrix_of(View stack, int64_t e) {
  return stack.row_range(e * stack.extent(1), stack.extent(1));
}

/// grouped_matmul, group by group.
Buffer one_by_one(Context& ctx, View a, View b, std::span<const int64_t> offsets, bool transpose_b,
                  int64_t N) {
  Buffer c = poisoned(a.dtype, {a.rows(), N});
  for (size_t e = 0; e + 1 < offsets.size(); ++e) {
    const int64_t first = offsets[e], rows = offsets[e + 1] - first;
    matmul(ctx, {.a = a.row_range(first, rows),
                 .b = matrix_of(b, static_cast<int64_t>(e)),
                 .c = c.view().row_range(first, rows),
                 .transpose_b = transpose_b});
  }
  return c;
}

/// The same bits; of a device, whose library chooses its kernel by the size of a product, the same to
/// rounding.
bool agree(Context& ctx, View got, View want, int64_t terms) {
  if (ctx.backend() != Backend::kCuda) return same_bits(got, want);
  return relative_difference(got, want) <= f32_tolerance(terms);
}

class Grouped : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Grouped, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

TEST_P(Grouped, MatmulIsOneProductAGroup) {
  Random random;
  Context ctx(GetParam());
  for (int i = 0; i < 20; ++i) {
    const int64_t groups = random.integer(1, 9), K = random.integer(1, 60), N = random.integer(1, 60);
    const bool transpose_b = i % 2 == 0;
    const auto offsets = random_offsets(random, groups);
    const Buffer a = random.normal(Dtype::kF32, {offsets.back(), K});
    const Buffer b = random.normal(Dtype::kF32, transpose_b ? Shape{groups, N, K} : Shape{groups, K, N});
    Buffer c = poisoned(Dtype::kF32, {offsets.back(), N});
    grouped_matmul(
        ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .offsets = offsets, .transpose_b = transpose_b});
    EXPECT_TRUE(agree(ctx, c.view(), one_by_one(ctx, a.view(), b.view(), offsets, transpose_b, N).view(), K))
        << hint(random);
  }
}

TEST_P(Grouped, OuterIsOneProductAGroup) {
  Random random;
  Context ctx(GetParam());
  for (int i = 0; i < 20; ++i) {
    const int64_t groups = random.integer(1, 9), M = random.integer(1, 60), N = random.integer(1, 60);
    const auto offsets = random_offsets(random, groups);
    const Buffer a = random.normal(Dtype::kF32, {offsets.back(), M}),
                 b = random.normal(Dtype::kF32, {offsets.back(), N});
    const bool accumulate = i % 2 == 0;
    const Buffer before =
        accumulate ? random.normal(Dtype::kF32, {groups, M, N}) : Buffer(Dtype::kF32, {groups, M, N});
    Buffer c = accumulate ? copy_of(before.view()) : poisoned(Dtype::kF32, {groups, M, N}),
           want = copy_of(before.view());
    grouped_outer(
        ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .offsets = offsets, .accumulate = accumulate});
    for (int64_t e = 0; e < groups; ++e) {  // an empty group keeps its matrix, or zero
      const int64_t first = offsets[static_cast<size_t>(e)],
                    rows = offsets[static_cast<size_t>(e) + 1] - first;
      matmul(ctx, {.a = a.view().row_range(first, rows),
                   .b = b.view().row_range(first, rows),
                   .c = matrix_of(want.view(), e),
                   .transpose_a = true,
                   .accumulate = true});
      EXPECT_EQ(rows == 0, same_bits(matrix_of(want.view(), e), matrix_of(before.view(), e)));
    }
    EXPECT_TRUE(agree(ctx, c.view(), want.view(), 40)) << hint(random);
  }
}

/// A product of one row for each choice, in whatever order, some experts chosen twice and some never.
TEST_P(Grouped, ChosenIsOneRowAChoice) {
  Random random;
  Context ctx(GetParam());
  for (int i = 0; i < 20; ++i) {
    const int64_t groups = random.integer(1, 9), K = random.integer(1, 60), N = random.integer(1, 60);
    const int64_t rows = random.integer(1, 7), of_a_row = random.integer(1, 4), choices = rows * of_a_row;
    const Buffer a = random.normal(Dtype::kF32, {rows, K}), b = random.normal(Dtype::kF32, {groups, N, K});
    const Buffer expert(Dtype::kI32, {rows, of_a_row});
    Buffer c = poisoned(Dtype::kF32, {choices, N}), want = poisoned(Dtype::kF32, {choices, N});
    for (int64_t s = 0; s < choices; ++s) {
      const int64_t e = random.integer(0, groups - 1);
      expert.view().as<int32_t>()[s] = static_cast<int32_t>(e);
      matmul(ctx, {.a = a.view().row_range(s / of_a_row, 1),
                   .b = matrix_of(b.view(), e),
                   .c = want.view().row_range(s, 1),
                   .transpose_b = true});
    }
    chosen_matmul(ctx, {.a = a.view(), .b = b.view(), .expert = expert.view(), .c = c.view()});
    EXPECT_TRUE(agree(ctx, c.view(), want.view(), K)) << hint(random);
  }
}

TEST_P(Grouped, ChoicesMustBeAsManyForEachRow) {
  Context ctx(GetParam());
  const Buffer a(Dtype::kF32, {2, 3}), b(Dtype::kF32, {4, 5, 3}), c(Dtype::kF32, {3, 5}),
      expert(Dtype::kI32, {3});
  EXPECT_THROW(chosen_matmul(ctx, {.a = a.view(), .b = b.view(), .expert = expert.view(), .c = c.view()}),
               ContractError);
}

TEST_P(Grouped, OffsetsMustRiseFromZeroToTheRows) {
  Context ctx(GetParam());
  Buffer a(Dtype::kF32, {4, 3}), b(Dtype::kF32, {2, 3, 5}), c(Dtype::kF32, {4, 5}),
      outer(Dtype::kF32, {2, 3, 5});
  for (const std::vector<int64_t>& offsets :
       {std::vector<int64_t>{0, 4}, {0, 2, 3}, {1, 2, 4}, {0, 5, 4}, {0, 1, 2, 4}}) {
    EXPECT_THROW(grouped_matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .offsets = offsets}),
                 ContractError);
    EXPECT_THROW(grouped_outer(ctx, {.a = a.view(), .b = c.view(), .c = outer.view(), .offsets = offsets}),
                 ContractError);
  }
}

/// A token alone with its expert, or among others.
TEST(GroupedCpu, ARowKeepsItsBitsInAnyGroup) {
  Random random;
  constexpr int64_t kRows = 90, K = 300, N = 70;
  const Buffer a = random.normal(Dtype::kF32, {kRows, K}), b = random.normal(Dtype::kF32, {1, N, K});
  Buffer want(Dtype::kF32, {kRows, N});
  Context one(Backend::kCpu, 1);
  matmul(one, {.a = a.view(), .b = b.view().reshaped({N, K}), .c = want.view(), .transpose_b = true});
  for (const int threads : {1, 2, 3}) {
    Context ctx(Backend::kCpu, threads);
    for (const int64_t alone : {1, 2, 5, 15, 16, 40}) {
      Buffer experts(Dtype::kF32,
                     {3, N, K});  // the first and the last multiply by b, the one between by zero
      copy(b.view().reshaped({N, K}), matrix_of(experts.view(), 0));
      copy(b.view().reshaped({N, K}), matrix_of(experts.view(), 2));
      const std::vector<int64_t> offsets{0, alone, alone, kRows};
      Buffer c = poisoned(Dtype::kF32, {kRows, N});
      grouped_matmul(
          ctx, {.a = a.view(), .b = experts.view(), .c = c.view(), .offsets = offsets, .transpose_b = true});
      EXPECT_TRUE(same_bits(c.view(), want.view()))
          << alone << " rows alone, threads " << threads << ", " << hint(random);
    }
  }
}

TEST(GroupedCpu, RowsMayBeStrided) {
  Random random;
  Context ctx(Backend::kCpu);
  const std::vector<int64_t> offsets{0, 7, 7, 30};
  const Buffer a = random.normal(Dtype::kF32, {30, 20}), b = random.normal(Dtype::kF32, {3, 20, 50});
  const Buffer want = one_by_one(ctx, a.view(), b.view(), offsets, false, 50);
  const StridedCopy wide_a(a.view()), wide_b(b.view()), c(poisoned(Dtype::kF32, {30, 50}).view());
  grouped_matmul(ctx, {.a = wide_a.view(), .b = wide_b.view(), .c = c.view(), .offsets = offsets});
  EXPECT_TRUE(same_bits(c.view(), want.view())) << hint(random);
  EXPECT_TRUE(c.padding_untouched());

  Buffer outer(Dtype::kF32, {3, 20, 50});
  const StridedCopy wide_outer(outer.view());
  grouped_outer(ctx, {.a = a.view(), .b = want.view(), .c = outer.view(), .offsets = offsets});
  grouped_outer(ctx, {.a = wide_a.view(), .b = c.view(), .c = wide_outer.view(), .offsets = offsets});
  EXPECT_TRUE(same_bits(wide_outer.view(), outer.view())) << hint(random);
}

TEST(GroupedCpu, RefusesDouble) {
  Context ctx(Backend::kCpu);
  const std::vector<int64_t> offsets{0, 2};
  Buffer a(Dtype::kF64, {2, 3}), b(Dtype::kF64, {1, 3, 4}), c(Dtype::kF64, {2, 4}), sum(Dtype::kF64, {3});
  EXPECT_THROW(grouped_matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .offsets = offsets}),
               ContractError);
  EXPECT_THROW(grouped_outer(ctx, {.a = a.view(), .b = c.view(), .c = b.view(), .offsets = offsets}),
               ContractError);
  EXPECT_THROW(column_sum(ctx, {.a = a.view(), .sum = sum.view()}), ContractError);
}

TEST(ColumnSum, ByHand) {
  for (const Backend backend : backends()) {
    Context ctx(backend);
    const Buffer a = floats({2, 3}, {1, 2, 3, 10, 20, 30}), sum = floats({3}, {100, 200, 300});
    column_sum(ctx, {.a = a.view(), .sum = sum.view()});
    EXPECT_EQ(floats_of(sum.view()), (std::vector<float>{111, 222, 333}));
  }
}

TEST(ColumnSum, CpuAgreesWithTheReferenceOnAnyNumberOfThreads) {
  Random random;
  Context reference(Backend::kReference);
  for (const int64_t cols : {1, 63, 64, 65, 200}) {
    for (const int64_t rows : {0, 1, 100}) {
      const Buffer a = random.normal(Dtype::kF32, {rows, cols}), before = random.normal(Dtype::kF32, {cols});
      const StridedCopy wide(a.view());
      Buffer want = copy_of(before.view());
      column_sum(reference, {.a = a.view(), .sum = want.view()});
      for (const int threads : {1, 2, 3}) {
        Context ctx(Backend::kCpu, threads);
        Buffer sum = copy_of(before.view());
        column_sum(ctx, {.a = wide.view(), .sum = sum.view()});
        EXPECT_TRUE(same_bits(sum.view(), want.view())) << hint(random);  // one rounding, at the end
      }
    }
  }
}

}  // namespace
}  // namespace natrix::test
