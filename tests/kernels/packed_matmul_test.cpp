// Packed weights: what each format keeps of a number, products against the reference on every instruction
// set, and the promises about bits: a row alone is the row among others, and f32 is matmul.
#include "kernels/packed_matmul.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <set>

#include "kernels/cpu/round_rows.h"
#include "kernels/matmul.h"
#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kF32, WeightFormat::kBF16, WeightFormat::kInt8};

class Packed {
 public:
  Packed(View weight, WeightFormat format)
      : data_(Dtype::kU8, {packed_bytes(format, weight.shape)}),
        scale_(format == WeightFormat::kInt8 ? Buffer(Dtype::kF32, {weight.rows()}) : Buffer()) {
    const bool stack = weight.shape.rank() == 3;
    weight_ = {.format = format,
               .stack = stack ? weight.extent(0) : 1,
               .rows = weight.extent(stack ? 1 : 0),
               .cols = weight.cols(),
               .data = data_.view().data,
               .scale = scale_.view().as<float>()};
    Context ctx(Backend::kCpu, 2);
    pack_weight(ctx, weight, weight_);
  }
  const PackedWeight& operator*() const { return weight_; }

 private:
  Buffer data_, scale_;
  PackedWeight weight_;
};

Buffer multiply(Context& ctx, View a, const PackedWeight& b, View bias = {},
                std::span<const int64_t> offsets = {}) {
  Buffer c = poisoned(a.dtype, {a.rows(), b.rows});
  packed_matmul(ctx, {.a = a, .b = b, .c = c.view(), .bias = bias, .offsets = offsets});
  return c;
}

/// Every line has a place of its own, none is left over, and what is read side by side lies `apart`: of
/// formats with several terms a lane, in one run.
TEST(PackedWeight, LinesFillTheirRoom) {
  for (const WeightFormat format : kFormats) {
    for (const int64_t N : {1, 16, 64, 65, 128, 203}) {
      const Shape shape{3, N, 21};
      std::vector<char> room(static_cast<size_t>(packed_bytes(format, shape)));
      const PackedWeight w{.format = format, .stack = 3, .rows = N, .cols = 21, .data = room.data()};
      std::set<int64_t> places;
      for (int64_t i = 0; i < w.stack * w.panels() * w.lines(); ++i) {
        const int64_t matrix = i / w.lines() / w.panels(), p = i / w.lines() % w.panels(), l = i % w.lines();
        places.insert(w.panel(matrix, p).line(l) - room.data());
        if (p % PackedWeight::kAbreast != 0) {
          EXPECT_EQ(w.panel(matrix, p).line(l) - w.panel(matrix, p - 1).line(l), w.apart());
        }
      }
      const auto lines = std::ssize(room) / PackedWeight::kLineBytes;
      ASSERT_EQ(std::ssize(places), lines);
      EXPECT_EQ(*places.begin(), 0);
      EXPECT_EQ(*places.rbegin(), (lines - 1) * PackedWeight::kLineBytes);
      EXPECT_EQ(w.apart(), format == WeightFormat::kF32 ? w.panel_bytes() : PackedWeight::kLineBytes);
    }
  }
}

TEST(PackedWeight, KeepsWhatItsFormatCan) {
  Random random;
  for (const auto& [N, K] : {std::pair<int64_t, int64_t>{1, 1}, {17, 5}, {64, 3}, {65, 8}, {130, 31}}) {
    const Buffer w = random.normal(Dtype::kF32, {N, K});
    const Packed f32(w.view(), WeightFormat::kF32), bf16(w.view(), WeightFormat::kBF16),
        int8(w.view(), WeightFormat::kInt8);
    for (int64_t n = 0; n < N; ++n) {
      const float* row = w.view().row<float>(n);
      float most = 0;
      for (int64_t k = 0; k < K; ++k) most = std::fmax(most, std::fabs(row[k]));
      for (int64_t k = 0; k < K; ++k) {
        EXPECT_EQ(unpacked(*f32, 0, n, k), row[k]);
        EXPECT_LE(std::fabs(unpacked(*bf16, 0, n, k) - row[k]), std::fabs(row[k]) * 0x1p-8f);
        EXPECT_LE(std::fabs(unpacked(*int8, 0, n, k) - row[k]), most / 127 * 0.5001f);
      }
    }
  }
}

TEST(PackedWeight, BFloat16IsTheNearestTiesToEven) {
  float values[] = {1.0f, 1.0f + 0x1p-8f, 1.0f + 3 * 0x1p-8f, 1.0f + 0x1p-8f + 0x1p-20f, -0.0f, INFINITY,
                    NAN};
  const Packed w(View(values, Dtype::kF32, {1, 7}), WeightFormat::kBF16);
  const float want[] = {1.0f, 1.0f, 1.0f + 0x1p-6f, 1.0f + 0x1p-7f, -0.0f, INFINITY};
  for (int64_t k = 0; k < 6; ++k) EXPECT_EQ(unpacked(*w, 0, 0, k), want[k]) << k;
  EXPECT_TRUE(std::signbit(unpacked(*w, 0, 0, 4)));
  EXPECT_TRUE(std::isnan(unpacked(*w, 0, 0, 6)));
}

TEST(PackedWeight, Int8RefusesWhatIsNotFiniteAndHoldsARowOfZeros) {
  float bad[] = {1, 2, INFINITY, 4}, zeros[] = {0, 0, 0};
  EXPECT_THROW(Packed(View(bad, Dtype::kF32, {2, 2}), WeightFormat::kInt8), InputError);
  const Packed w(View(zeros, Dtype::kF32, {1, 3}), WeightFormat::kInt8);
  EXPECT_EQ(unpacked(*w, 0, 0, 1), 0.0f);
}

TEST(PackedWeight, RowsAreLookedUpAsAnEmbeddingIs) {
  Random random;
  const Buffer w = random.normal(Dtype::kF32, {70, 9});
  Buffer tokens(Dtype::kI64, {2, 3});
  for (int64_t i = 0; i < 6; ++i) tokens.view().as<int64_t>()[i] = random.integer(0, 69);
  for (const WeightFormat format : kFormats) {
    const Packed packed(w.view(), format);
    Buffer y = poisoned(Dtype::kF32, {2, 3, 9});
    unpack_rows(*packed, tokens.view(), y.view());
    for (int64_t r = 0; r < 6; ++r) {
      for (int64_t k = 0; k < 9; ++k) {
        EXPECT_EQ(y.view().row<float>(r)[k], unpacked(*packed, 0, tokens.view().as<int64_t>()[r], k));
      }
    }
  }
}

using PackedTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, PackedTargets, ::testing::ValuesIn(targets()), target_name);

/// |W| as its format holds it, in f32.
Buffer magnitudes(const PackedWeight& w) {
  Buffer all(Dtype::kF32, {w.rows, w.cols});
  for (int64_t n = 0; n < w.rows; ++n) {
    for (int64_t k = 0; k < w.cols; ++k) all.view().row<float>(n)[k] = std::fabs(unpacked(w, 0, n, k));
  }
  return all;
}

TEST_P(PackedTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend(), 2), reference(Backend::kReference);
  for (int i = 0; i < 90; ++i) {
    const int64_t M = i % 3 == 0 ? 1 : random.integer(0, 30), N = random.integer(1, 400),
                  K = i % 10 == 0 ? random.integer(500, 800) : random.integer(1, 300);
    const Packed w(random.normal(Dtype::kF32, {N, K}).view(), kFormats[i / 3 % 3]);
    const Packed sizes(magnitudes(*w).view(), WeightFormat::kF32);
    const Buffer a = random.normal(Dtype::kF32, {M, K}), bias = random.normal(Dtype::kF32, {N});
    const Buffer exact = as(Dtype::kF64, a.view()), exact_bias = as(Dtype::kF64, bias.view());
    const auto if_biased = [&](const Buffer& b) { return i % 2 == 0 ? b.view() : View{}; };
    Buffers got, want, size;
    got["c"] = multiply(ctx, a.view(), *w, if_biased(bias));
    want["c"] = multiply(reference, exact.view(), *w, if_biased(exact_bias));
    size["c"] =
        multiply(reference, absolute(exact.view()).view(), *sizes, if_biased(absolute(exact_bias.view())));
    expect_close(
        got, want, size, [&](const std::string&) { return f32_tolerance(K + 3); },
        Shape{M, N, K}.to_string() + " format " + std::to_string(i / 3 % 3) + ", seed " +
            std::to_string(random.seed()));
  }
}

/// Whole blocks go through vectors: every block as round_activations has it, ties and what is no number
/// included.
TEST_P(PackedTargets, RowsAreRoundedBlockByBlock) {
  Random random;
  constexpr int64_t kBlock = RoundedActivations::kBlock, kRow = 8 * kBlock + 5;
  const Buffer row = random.normal(Dtype::kF32, {kRow});
  float* x = row.view().as<float>();
  std::fill_n(x, kBlock, 0.0f);
  x[kBlock] = 2047;  // so that a step is 1, and halves lie between two integers
  for (int64_t k = 1; k < kBlock; ++k) x[kBlock + k] = static_cast<float>(k) - 32.5f;
  x[2 * kBlock + 7] = std::numeric_limits<float>::infinity();
  x[3 * kBlock + 9] = -std::numeric_limits<float>::quiet_NaN();
  std::fill_n(x + 4 * kBlock, kBlock, 1e-42f);
  for (int64_t k = 0; k < kBlock; ++k) x[5 * kBlock + k] *= 1e30f;

  std::vector<int16_t> got(kRow), want(kRow);
  std::vector<float> steps(static_cast<size_t>(RoundedActivations::blocks(kRow)));
  cpu::round_row(x, kRow, steps.data(), got.data());
  for (int64_t k = 0; k < kRow; k += kBlock) {
    const auto count = static_cast<size_t>(std::min(kBlock, kRow - k));
    const float step = round_activations({x + k, count}, want.data() + k);
    const float of_row = steps[static_cast<size_t>(k / kBlock)];
    EXPECT_TRUE(of_row == step || (!std::isfinite(of_row) && !std::isfinite(step))) << "block " << k / kBlock;
  }
  EXPECT_EQ(got, want);
}

TEST_P(PackedTargets, InF32ItIsMatmulToTheBit) {
  Random random;
  Context ctx(backend(), 2);
  for (const int64_t M : {1, 2, 7, 40}) {
    for (const auto& [N, K] : {std::pair<int64_t, int64_t>{16, 64}, {80, 300}, {203, 513}, {1000, 48}}) {
      const Buffer a = random.normal(Dtype::kF32, {M, K}), w = random.normal(Dtype::kF32, {N, K}),
                   bias = random.normal(Dtype::kF32, {N});
      Buffer want = poisoned(Dtype::kF32, {M, N});
      matmul(ctx, {.a = a.view(), .b = w.view(), .c = want.view(), .bias = bias.view(), .transpose_b = true});
      const Packed packed(w.view(), WeightFormat::kF32);
      EXPECT_TRUE(same_bits(multiply(ctx, a.view(), *packed, bias.view()).view(), want.view()))
          << Shape{M, N, K}.to_string() << ", seed " << random.seed();
    }
  }
}

TEST_P(PackedTargets, ARowKeepsItsBits) {
  Random random;
  for (const WeightFormat format : kFormats) {
    for (const auto& [N, K] : {std::pair<int64_t, int64_t>{64, 256}, {80, 530}, {333, 48}}) {
      const Packed w(random.normal(Dtype::kF32, {N, K}).view(), format);
      const Buffer a = random.normal(Dtype::kF32, {70, K}), bias = random.normal(Dtype::kF32, {N});
      Context one(backend(), 1);
      const Buffer want = multiply(one, a.view(), *w, bias.view());
      for (const int threads : {1, 3}) {
        Context ctx(backend(), threads);
        for (const int64_t rows : {1, 2, 5, 17, 69}) {
          const int64_t first = random.integer(0, 70 - rows);
          const Buffer got = multiply(ctx, a.view().row_range(first, rows), *w, bias.view());
          EXPECT_TRUE(same_bits(got.view(), want.view().row_range(first, rows)))
              << rows << " of " << Shape{70, N, K}.to_string() << ", seed " << random.seed();
        }
      }
    }
  }
}

TEST_P(PackedTargets, AStackIsOneProductAGroup) {
  Random random;
  Context ctx(backend(), 2);
  for (const WeightFormat format : kFormats) {
    const int64_t N = 70, K = 33;
    const Buffer w = random.normal(Dtype::kF32, {4, N, K}), a = random.normal(Dtype::kF32, {21, K});
    const std::vector<int64_t> offsets{0, 1, 1, 20, 21};
    const Packed stack(w.view(), format);
    const Buffer got = multiply(ctx, a.view(), *stack, {}, offsets);
    for (size_t g = 0; g < 4; ++g) {
      const int64_t first = offsets[g], rows = offsets[g + 1] - first;
      const Packed one(w.view().row_range(static_cast<int64_t>(g) * N, N), format);
      EXPECT_TRUE(same_bits(got.view().row_range(first, rows),
                            multiply(ctx, a.view().row_range(first, rows), *one).view()))
          << "group " << g;
    }
  }
}

TEST(PackedMatmul, RefusesWhatBreaksItsContract) {
  Context ctx(Backend::kCpu);
  Random random;
  const Packed w(random.normal(Dtype::kF32, {5, 3}).view(), WeightFormat::kF32),
      stack(random.normal(Dtype::kF32, {2, 5, 3}).view(), WeightFormat::kF32);
  Buffer a(Dtype::kF32, {4, 3}), c(Dtype::kF32, {4, 5}), wrong(Dtype::kF32, {4, 6});
  const std::vector<int64_t> rises{0, 1, 4}, falls{0, 5, 4};
  packed_matmul(ctx, {.a = a.view(), .b = *stack, .c = c.view(), .offsets = rises});
  EXPECT_THROW(packed_matmul(ctx, {.a = a.view(), .b = *w, .c = wrong.view()}), ContractError);
  EXPECT_THROW(packed_matmul(ctx, {.a = a.view(), .b = {}, .c = c.view()}), ContractError);
  EXPECT_THROW(packed_matmul(ctx, {.a = a.view(), .b = *stack, .c = c.view()}), ContractError);
  EXPECT_THROW(packed_matmul(ctx, {.a = a.view(), .b = *stack, .c = c.view(), .offsets = falls}),
               ContractError);
}

}  // namespace
}  // namespace natrix::test
