// The CPU attention against the reference, on every instruction set of this machine; and what it promises beyond
// that: the same bits however a sequence is cut, whatever the threads are, and whatever other documents hold.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/attention.h"
#include "tests/kernels/attention_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

std::string hint(const AttentionCase& c, const Random& random) {
  return c.size.to_string() + ", seed " + std::to_string(random.seed());
}

/// Expects max |got − want| ≤ tolerance · scale. Where little is seen, gradients of scores cancel to nothing,
/// so that their scale is that of what is subtracted.
void expect_near(View got, View want, double scale, int64_t terms, const std::string& what) {
  const double worst = relative_difference(got, want) * largest(want);
  if (largest(want) == 0) {
    EXPECT_LE(largest(got), f32_tolerance(terms) * scale) << what;
  } else {
    EXPECT_LE(worst, f32_tolerance(terms) * std::max(scale, largest(want))) << what;
  }
}

void expect_reference(Context& ctx, const AttentionCase& c, const std::string& hint) {
  Context reference(Backend::kReference);
  const AttentionCase exact = c.as(Dtype::kF64);
  const int64_t rows = c.size.rows(), D = c.size.dim;
  const Buffers got = run_forward(ctx, c), want = run_forward(reference, exact);
  expect_near(got.at("y").view(), want.at("y").view(), largest(c["v"]), rows + D, "y, " + hint);
  expect_near(got.at("lse").view(), want.at("lse").view(), 1, rows + D, "lse, " + hint);
  const Buffers dgot = run_backward(ctx, c), dwant = run_backward(reference, exact);
  const double dp = std::sqrt(static_cast<double>(D)) * largest(c["dy"]) * largest(c["v"]) * c.scale;
  expect_near(dgot.at("q").view(), dwant.at("q").view(), dp * largest(c["k"]), rows + D, "dq, " + hint);
  expect_near(dgot.at("k").view(), dwant.at("k").view(), dp * largest(c["q"]), rows * c.size.heads,
              "dk, " + hint);
  expect_near(dgot.at("v").view(), dwant.at("v").view(), largest(c["dy"]), rows * c.size.heads,
              "dv, " + hint);
}

using AttentionTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, AttentionTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(AttentionTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend());
  for (const AttentionSizes& size : {AttentionSizes{1, 0, 1, 1, 1, 1},
                                     {2, 0, 67, 4, 1, 5},
                                     {1, 0, 131, 8, 2, 64},
                                     {1, 64, 1, 8, 8, 80},
                                     {2, 129, 1, 8, 1, 64},
                                     {1, 300, 13, 6, 2, 128},
                                     {1, 61, 65, 4, 4, 17},
                                     {1, 5, 97, 3, 1, 33, 1},
                                     {1, 70, 97, 2, 2, 16, 13},
                                     {1, 0, 200, 2, 1, 24, 64}}) {
    for (const double starts : {0.0, 0.05}) {
      const AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, size, starts);
      expect_reference(ctx, c, hint(c, random));
    }
  }
}

TEST_P(AttentionTargets, DocumentsStartAtTheFirstTokenAndAtEveryToken) {
  Random random;
  Context ctx(backend());
  AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, {2, 66, 70, 4, 2, 8}, 0.01);
  for (int64_t b = 0; b < 2; ++b) c.doc_start.view().row<uint8_t>(b)[c.size.past] = 1;
  expect_reference(ctx, c, hint(c, random));
  std::fill_n(c.doc_start.view().as<uint8_t>(), c.doc_start.view().count(), uint8_t{1});
  expect_reference(ctx, c, hint(c, random));
}

TEST_P(AttentionTargets, ChunksChangeNoBitOfAnOutput) {
  Random random;
  Context ctx(backend());
  for (const AttentionSizes& size : {AttentionSizes{2, 30, 201, 8, 2, 24}, {1, 0, 150, 3, 3, 64, 70}}) {
    for (const double starts : {0.0, 0.03}) {
      const AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, size, starts);
      const Buffers want = run_forward(ctx, c);
      for (const int64_t chunk : {64, 7, 1}) {
        expect_same_bits(Views(run_forward(ctx, c, chunk)), Views(want),
                         "chunk " + std::to_string(chunk) + ", " + hint(c, random));
      }
    }
  }
}

TEST(AttentionCpu, SegmentsAddUpToTheWholeGradient) {
  Random random;
  Context ctx(Backend::kCpu), reference(Backend::kReference);
  const AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, {2, 20, 190, 4, 2, 16}, 0.02);
  const Buffers want = run_backward(reference, c.as(Dtype::kF64));
  for (const int64_t chunk : {190, 64, 7, 1}) {
    for (const auto& [name, got] : run_backward(ctx, c, chunk)) {
      EXPECT_LE(relative_difference(got.view(), want.at(name).view()), f32_tolerance(210 * 4))
          << name << ", chunk " << chunk << ", " << hint(c, random);
    }
  }
}

/// Other values for one document leave every result of the others as they were, to the bit.
TEST(AttentionCpu, DocumentsDoNotTouchEachOther) {
  Random random;
  Context ctx(Backend::kCpu);
  const AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, {1, 0, 300, 4, 2, 20}, 0.0);
  AttentionCase packed = c.copy();
  packed.doc_start = Buffer(Dtype::kU8, {1, 300});
  constexpr int64_t kBegin = 70, kEnd = 165;  // the document that changes
  for (const int64_t start : {int64_t{0}, int64_t{31}, kBegin, kEnd, int64_t{290}}) {
    packed.doc_start.view().as<uint8_t>()[start] = 1;
  }
  AttentionCase other = packed.copy();
  for (auto& [name, buffer] : other.in) {
    const View v = buffer.view();
    for (int64_t t = kBegin; t < kEnd; ++t) {
      for (int64_t i = 0; i < v.cols(); ++i) v.row<float>(t)[i] = static_cast<float>(100 * random.normal());
    }
  }
  for (const int64_t chunk : {0, 50}) {
    const auto expect_outside = [&](const Buffers& got, const Buffers& want) {
      for (const auto& [name, buffer] : got) {
        if (name == "lse") continue;
        const View a = buffer.view(), b = want.at(name).view();
        EXPECT_TRUE(same_bits(a.row_range(0, kBegin), b.row_range(0, kBegin))) << name << hint(c, random);
        EXPECT_TRUE(same_bits(a.row_range(kEnd, 300 - kEnd), b.row_range(kEnd, 300 - kEnd)))
            << name << hint(c, random);
        EXPECT_FALSE(same_bits(a, b)) << name;
      }
    };
    expect_outside(run_forward(ctx, other, chunk), run_forward(ctx, packed, chunk));
    expect_outside(run_backward(ctx, other, chunk), run_backward(ctx, packed, chunk));
  }
}

TEST(AttentionCpu, ThreadsChangeNoBit) {
  Random random;
  const AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, {2, 40, 150, 8, 2, 32}, 0.01);
  Context one(Backend::kCpu, 1);
  const Buffers want = run_forward(one, c), dwant = run_backward(one, c);
  for (const int threads : {2, 3}) {
    Context ctx(Backend::kCpu, threads);
    expect_same_bits(Views(run_forward(ctx, c)), Views(want), hint(c, random));
    expect_same_bits(Views(run_backward(ctx, c)), Views(dwant), hint(c, random));
  }
}

/// Scores far beyond what a float's exponential holds.
TEST_P(AttentionTargets, LargeScoresDoNotOverflow) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, {1, 0, 90, 2, 1, 8});
  c.scale = 300;
  const Buffers got = run_forward(ctx, c), want = run_forward(reference, c.as(Dtype::kF64));
  // A score of a few thousand is off by its own rounding, and a weight by as many units.
  const double tolerance = f32_tolerance(8) * largest(want.at("lse").view());
  EXPECT_LE(relative_difference(got.at("y").view(), want.at("y").view()), tolerance) << hint(c, random);
  for (const auto& [name, gradient] : run_backward(ctx, c)) {
    EXPECT_TRUE(std::isfinite(largest(gradient.view()))) << name << hint(c, random);
  }
}

TEST(AttentionCpu, StridedRowsAndAliases) {
  Random random;
  Context ctx(Backend::kCpu);
  const AttentionCase c = AttentionCase::fresh(random, Dtype::kF32, {1, 0, 70, 4, 2, 9});
  const Buffers want = run_forward(ctx, c), dwant = run_backward(ctx, c);
  const OwnedPages pages(Dtype::kF32, 1, 70, 2, 9, false), gradients(Dtype::kF32, 1, 70, 2, 9, true);
  append_rows(ctx, {.k = c["k"], .v = c["v"], .pages = pages.of_length(70)});
  const StridedCopy q(c["q"]), y(c["q"]), dy(c["dy"]);
  const Buffer lse = poisoned(Dtype::kF32, {1, 4, 70});
  attention_forward(ctx, {.q = y.view(),
                          .history = pages.of_length(70),
                          .scale = c.scale,
                          .y = y.view(),  // over q
                          .lse = lse.view()});
  EXPECT_TRUE(same_bits(y.view(), want.at("y").view()));
  EXPECT_TRUE(y.padding_untouched());
  attention_backward(ctx, {.q = q.view(),
                           .history = pages.of_length(70),
                           .scale = c.scale,
                           .y = y.view(),
                           .lse = lse.view(),
                           .dy = dy.view(),
                           .dq = dy.view(),  // over dy
                           .dhistory = gradients.of_length(70)});
  EXPECT_TRUE(same_bits(dy.view(), dwant.at("q").view()));
  EXPECT_TRUE(dy.padding_untouched());
}

TEST(AttentionCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const AttentionCase c = AttentionCase::fresh(random, Dtype::kF64, {1, 0, 2, 1, 1, 3});
  EXPECT_THROW(run_forward(ctx, c), ContractError);
}

}  // namespace
}  // namespace natrix::test
