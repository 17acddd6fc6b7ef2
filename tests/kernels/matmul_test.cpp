// Matrix products: the reference by hand and against a sum written the other way round, the CPU's against the
// reference on every instruction set of this machine, and what kernels/cpu/gemm.h promises about bits.
#include "kernels/matmul.h"

#include <cmath>
#include <gtest/gtest.h>
#include <hwy/targets.h>
#include <numeric>

#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

/// One product with everything that Matmul can ask for.
struct ProductCase {
  int64_t M, N, K;
  bool transpose_a = false, transpose_b = false, accumulate = false, with_bias = false;
  Buffers in;  // a, b, c, bias

  static ProductCase fresh(Random& random, Dtype dtype, ProductCase s) {
    s.in["a"] = random.normal(dtype, s.transpose_a ? Shape{s.K, s.M} : Shape{s.M, s.K});
    s.in["b"] = random.normal(dtype, s.transpose_b ? Shape{s.N, s.K} : Shape{s.K, s.N});
    s.in["c"] = random.normal(dtype, {s.M, s.N});
    s.in["bias"] = random.normal(dtype, {s.N});
    return s;
  }
  template <class F>
  ProductCase each(F&& change) const {
    ProductCase s{M, N, K, transpose_a, transpose_b, accumulate, with_bias, {}};
    for (const auto& [name, buffer] : in) s.in[name] = change(buffer.view());
    return s;
  }
  ProductCase exact() const {
    return each([](View v) { return as(Dtype::kF64, v); });
  }
  ProductCase magnitudes() const {
    return exact().each([](View v) { return absolute(v); });
  }
  Matmul args(View a, View b, View c) const {
    return {.a = a,
            .b = b,
            .c = c,
            .bias = with_bias ? in.at("bias").view() : View{},
            .transpose_a = transpose_a,
            .transpose_b = transpose_b,
            .accumulate = accumulate};
  }
  std::string to_string() const {
    return std::to_string(M) + "x" + std::to_string(N) + "x" + std::to_string(K) +
           (transpose_a ? " aT" : "") + (transpose_b ? " bT" : "") + (accumulate ? " +=" : "") +
           (with_bias ? " bias" : "");
  }
};

Buffers run(Context& ctx, const ProductCase& p) {
  Buffers out;
  out["c"] = copy_of(p.in.at("c").view());
  matmul(ctx, p.args(p.in.at("a").view(), p.in.at("b").view(), out["c"].view()));
  return out;
}

std::string hint(const std::string& what, const Random& random) {
  return what + ", seed " + std::to_string(random.seed());
}

void expect_reference(Context& ctx, const ProductCase& p, const Random& random) {
  Context reference(Backend::kReference);
  expect_close(
      run(ctx, p), run(reference, p.exact()), run(reference, p.magnitudes()),
      [&](const std::string&) { return f32_tolerance(p.K + 2); }, hint(p.to_string(), random));
}

TEST(MatmulReference, ByHand) {
  Context ctx(Backend::kReference);
  double a[] = {1, 2, 3, 4, 5, 6}, b[] = {7, 8, 9, 10, 11, 12}, bias[] = {100, 200};
  double c[] = {0.5, 0.5, 0.5, 0.5};
  const View va(a, Dtype::kF64, {2, 3}), vb(b, Dtype::kF64, {3, 2}), vc(c, Dtype::kF64, {2, 2});
  matmul(ctx, {.a = va, .b = vb, .c = vc});
  EXPECT_EQ(std::vector<double>(c, c + 4), (std::vector<double>{58, 64, 139, 154}));
  matmul(ctx, {.a = va, .b = vb, .c = vc, .bias = View(bias, Dtype::kF64, {2}), .accumulate = true});
  EXPECT_EQ(std::vector<double>(c, c + 4), (std::vector<double>{216, 328, 378, 508}));
  // [2, 3] read as the transpose of [3, 2] and the other way round
  matmul(ctx, {.a = View(a, Dtype::kF64, {3, 2}),
               .b = View(b, Dtype::kF64, {2, 3}),
               .c = vc,
               .transpose_a = true,
               .transpose_b = true});
  EXPECT_EQ(std::vector<double>(c, c + 4), (std::vector<double>{76, 103, 100, 136}));
}

using MatmulTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, MatmulTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(MatmulTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend());
  for (int i = 0; i < 200; ++i) {
    const auto coin = [&] { return random.integer(0, 1) == 1; };
    const auto p = ProductCase::fresh(random, Dtype::kF32,
                                      {random.integer(0, 40),
                                       random.integer(0, 130),
                                       random.integer(0, 70),
                                       coin(),
                                       coin(),
                                       coin(),
                                       coin(),
                                       {}});
    expect_reference(ctx, p, random);
  }
}

/// Blocks of 256 terms, tiles of 768 rows and columns, panels of three vectors: on their edges and one off.
TEST_P(MatmulTargets, AgreesOnTheEdgesOfBlocksAndTiles) {
  Random random;
  Context ctx(backend());
  for (const bool transpose : {false, true}) {
    for (const int64_t K : {255, 256, 257, 512, 515}) {
      for (const int64_t M : {1, 2, 5, 17}) {
        expect_reference(
            ctx, ProductCase::fresh(random, Dtype::kF32, {M, 49, K, transpose, transpose, false, false, {}}),
            random);
      }
    }
    for (const int64_t extent : {767, 768, 769, 1540}) {
      expect_reference(
          ctx,
          ProductCase::fresh(random, Dtype::kF32, {extent, 30, 5, transpose, transpose, true, false, {}}),
          random);
      expect_reference(
          ctx,
          ProductCase::fresh(random, Dtype::kF32, {30, extent, 5, transpose, transpose, false, true, {}}),
          random);
    }
  }
}

/// A row's bits, whatever rows stand beside it, where it stands, and how many threads there are.
TEST_P(MatmulTargets, ARowKeepsItsBits) {
  if (backend() == Backend::kCuda) GTEST_SKIP() << "cuBLAS chooses its kernel by the size of a product";
  Random random;
  for (const bool transpose_b : {true, false}) {
    for (const auto& [N, K] :
         {std::pair<int64_t, int64_t>{8, 256}, {64, 300}, {80, 513}, {257, 48}, {33, 770}, {1, 64}}) {
      const auto whole =
          ProductCase::fresh(random, Dtype::kF32, {120, N, K, false, transpose_b, false, true, {}});
      Context one(backend(), 1);
      const Buffers want = run(one, whole);
      for (const int threads : {1, 2, 3}) {
        Context ctx(backend(), threads);
        for (const int64_t rows : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 64, 119, 120}) {
          const int64_t first = random.integer(0, 120 - rows);
          Buffer c = poisoned(Dtype::kF32, {rows, N});
          matmul(ctx, whole.args(whole.in.at("a").view().row_range(first, rows), whole.in.at("b").view(),
                                 c.view()));
          EXPECT_TRUE(same_bits(c.view(), want.at("c").view().row_range(first, rows)))
              << rows << " rows from " << first << " on, threads " << threads << ", "
              << hint(whole.to_string(), random);
        }
      }
    }
  }
}

TEST_P(MatmulTargets, ThreadsChangeNoBit) {
  Random random;
  for (const bool transpose_a : {false, true}) {
    const auto p =
        ProductCase::fresh(random, Dtype::kF32, {300, 200, 600, transpose_a, false, true, false, {}});
    Context one(backend(), 1);
    const Buffers want = run(one, p);
    for (const int threads : {2, 3, 8}) {
      Context ctx(backend(), threads);
      expect_same_bits(Views(run(ctx, p)), Views(want), hint(p.to_string(), random));
    }
  }
}

/// Where products are added without rounding in between, the vector's length changes nothing either.
TEST(MatmulCpu, InstructionSetsWithFusedMultiplyAddAgreeToTheBit) {
  Random random;
  Context ctx(Backend::kCpu, 1);
  for (const int64_t rows : {1, 37}) {
    const auto p = ProductCase::fresh(random, Dtype::kF32, {rows, 101, 530, false, true, false, false, {}});
    const Buffers want = run(ctx, p);
    for (const int64_t target : targets()) {
      const std::string name = hwy::TargetName(target);
      if (!name.starts_with("AVX") && name != "NEON") continue;  // plain C++ rounds every product
      hwy::SetSupportedTargetsForTest(target);
      expect_same_bits(Views(run(ctx, p)), Views(want), name + ", " + hint(p.to_string(), random));
      hwy::SetSupportedTargetsForTest(0);
    }
  }
}

TEST(MatmulCpu, RowsMayBeStrided) {
  Random random;
  Context ctx(Backend::kCpu);
  for (int i = 0; i < 40; ++i) {
    const auto coin = [&] { return random.integer(0, 1) == 1; };
    const auto p = ProductCase::fresh(random, Dtype::kF32,
                                      {random.integer(1, 40),
                                       random.integer(1, 130),
                                       random.integer(1, 300),
                                       coin(),
                                       coin(),
                                       coin(),
                                       coin(),
                                       {}});
    const StridedCopy a(p.in.at("a").view()), b(p.in.at("b").view()), c(p.in.at("c").view());
    matmul(ctx, p.args(a.view(), b.view(), c.view()));
    EXPECT_TRUE(same_bits(c.view(), run(ctx, p).at("c").view())) << hint(p.to_string(), random);
    EXPECT_TRUE(c.padding_untouched()) << hint(p.to_string(), random);
  }
}

TEST(MatmulCpu, LeadingDimensionsAreRows) {
  Random random;
  Context ctx(Backend::kCpu);
  Buffer x = random.normal(Dtype::kF32, {2, 3, 5}), w = random.normal(Dtype::kF32, {4, 5});
  Buffer y = poisoned(Dtype::kF32, {2, 3, 4}), flat = poisoned(Dtype::kF32, {6, 4});
  matmul(ctx, {.a = x.view(), .b = w.view(), .c = y.view(), .transpose_b = true});
  matmul(ctx, {.a = x.view().reshaped({6, 5}), .b = w.view(), .c = flat.view(), .transpose_b = true});
  EXPECT_TRUE(same_bits(y.view().reshaped({6, 4}), flat.view()));
}

TEST(MatmulCpu, NoTermsGiveZeroOrLeaveTheSum) {
  Context ctx(Backend::kCpu);
  Buffer a(Dtype::kF32, {0, 3}), b(Dtype::kF32, {0, 2}), c = filled(Dtype::kF32, {3, 2}, 5.0);
  matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .transpose_a = true, .accumulate = true});
  EXPECT_TRUE(same_bits(c.view(), filled(Dtype::kF32, {3, 2}, 5.0).view()));
  matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .transpose_a = true});
  EXPECT_TRUE(same_bits(c.view(), Buffer(Dtype::kF32, {3, 2}).view()));
}

TEST(Matmul, RefusesWhatBreaksItsContract) {
  for (const Backend backend : backends()) {
    Context ctx(backend);
    Buffer a(Dtype::kF32, {2, 3}), b(Dtype::kF32, {3, 4}), c(Dtype::kF32, {2, 4}), wrong(Dtype::kF32, {2, 5});
    Buffer doubles(Dtype::kF64, {3, 4}), square(Dtype::kF32, {3, 3});
    EXPECT_THROW(matmul(ctx, {.a = a.view(), .b = b.view(), .c = wrong.view()}), ContractError);
    EXPECT_THROW(matmul(ctx, {.a = a.view(), .b = doubles.view(), .c = c.view()}), ContractError);
    EXPECT_THROW(matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .transpose_b = true}),
                 ContractError);
    EXPECT_THROW(matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view(), .bias = wrong.view()}),
                 ContractError);
    EXPECT_THROW(matmul(ctx, {.a = square.view(), .b = square.view(), .c = square.view()}), ContractError);
  }
}

TEST(MatmulCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  EXPECT_THROW(run(ctx, ProductCase::fresh(random, Dtype::kF64, {2, 2, 2, false, false, false, false, {}})),
               ContractError);
}

/// An element beyond 2^31 of c: 8 GiB.
TEST(MatmulCpu, SlowLongOffsets) {
  constexpr int64_t M = 65537, N = 32769;
  static_assert(M * N > (int64_t{1} << 31));
  Random random;
  Context ctx(Backend::kCpu);
  Buffer a = random.normal(Dtype::kF32, {M, 1}), b = random.normal(Dtype::kF32, {1, N}),
         c(Dtype::kF32, {M, N});
  matmul(ctx, {.a = a.view(), .b = b.view(), .c = c.view()});
  for (const int64_t i : {int64_t{0}, M / 2, M - 2, M - 1}) {
    for (const int64_t j : {int64_t{0}, N / 2, N - 1}) {
      EXPECT_EQ(c.view().row<float>(i)[j], a.view().as<float>()[i] * b.view().as<float>()[j])
          << i << " " << j;
    }
  }
}

}  // namespace
}  // namespace natrix::test
