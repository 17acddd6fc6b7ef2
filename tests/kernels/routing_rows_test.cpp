// The permutation, and rows on their way to the experts and back. Operands are small integers where that
// makes sums exact in either dtype and in any order: adjoints then agree to the last bit.
#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "kernels/routing.h"
#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

using RoutingRowsOnTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, RoutingRowsOnTargets, ::testing::ValuesIn(every_target()), target_name);

const std::vector<int64_t>& expert_counts() {
  static const std::vector<int64_t> counts = {1, 2, 3, 7, 8, 64, 67};
  return counts;
}

/// A random choice and its permutation; a third of the experts are never chosen.
struct Permuted {
  Permuted(Random& random, int64_t tokens_, int64_t experts_, int64_t top_k_, int64_t capacity)
      : tokens(tokens_),
        experts(experts_),
        top_k(top_k_),
        expert(Dtype::kI32, {tokens, top_k}),
        row_of_slot(Dtype::kI64, {tokens, top_k}),
        slot_of_row_(Dtype::kI64, {tokens * top_k}),
        offsets(static_cast<size_t>(experts) + 1) {
    std::vector<int32_t> open;
    for (int32_t e = 0; e < experts; ++e) {
      if (e % 3 != 1 || experts < 3 * top_k) open.push_back(e);
    }
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t j = 0; j < top_k; ++j) {
        std::swap(open[static_cast<size_t>(j)],
                  open[static_cast<size_t>(random.integer(j, static_cast<int64_t>(open.size()) - 1))]);
        expert.view().row<int32_t>(t)[j] = open[static_cast<size_t>(j)];
      }
    }
    Context ctx(Backend::kCpu);
    route_permutation(ctx, {.expert = expert.view(),
                            .capacity = capacity,
                            .row_of_slot = row_of_slot.view(),
                            .slot_of_row = slot_of_row_.view(),
                            .offsets = offsets});
  }
  int64_t rows() const { return offsets.back(); }
  View slot_of_row() const { return View(slot_of_row_.view().data, Dtype::kI64, {rows()}); }

  int64_t tokens, experts, top_k;
  Buffer expert, row_of_slot, slot_of_row_;
  std::vector<int64_t> offsets;
};

const std::vector<int64_t>& capacities() {
  static const std::vector<int64_t> values = {-1, 0, 1, 5, 1000};
  return values;
}

TEST(RoutingRows, PermutationIsAStableSortAndItsInverse) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  for (int64_t capacity : capacities()) {
    for (int64_t experts : expert_counts()) {
      for (int64_t tokens : {0, 1, 2, 37}) {
        const Permuted p(random, tokens, experts, random.integer(1, experts), capacity);
        const int32_t* expert = p.expert.view().as<int32_t>();
        const int64_t *row = p.row_of_slot.view().as<int64_t>(), *slot = p.slot_of_row().as<int64_t>();
        ASSERT_EQ(p.offsets.front(), 0);
        std::vector<int64_t> seen(static_cast<size_t>(experts));
        for (int64_t s = 0; s < tokens * p.top_k;
             ++s) {  // slots in order meet the rows of their expert in order
          const auto e = static_cast<size_t>(expert[s]);
          const bool kept = capacity < 0 || seen[e] < capacity;
          ASSERT_EQ(row[s], kept ? p.offsets[e] + seen[e] : -1);
          if (kept) {
            ASSERT_EQ(slot[row[s]], s);
            ++seen[e];
          }
        }
        for (size_t e = 0; e < seen.size(); ++e) ASSERT_EQ(p.offsets[e + 1] - p.offsets[e], seen[e]);
      }
    }
  }
}

TEST(RoutingRows, PermutationRefusesAnUnknownExpert) {
  Context ctx(Backend::kCpu);
  for (int32_t bad : {-1, 4}) {
    Buffer expert(Dtype::kI32, {2, 1}), row(Dtype::kI64, {2, 1}), slot(Dtype::kI64, {2});
    expert.view().as<int32_t>()[1] = bad;
    std::vector<int64_t> offsets(5);
    EXPECT_THROW(route_permutation(ctx, {.expert = expert.view(),
                                         .row_of_slot = row.view(),
                                         .slot_of_row = slot.view(),
                                         .offsets = offsets}),
                 ContractError);
  }
}

/// Operands of the row kernels, [.., D] as columns of wider buffers: rows are strided as slices of channels
/// are.
struct Rows {
  Rows(const Permuted& p, Dtype dtype, int64_t width, const std::function<Buffer(Dtype, Shape)>& make)
      : wide_x(make(dtype, {p.tokens, width + 5})),
        wide_rows(make(dtype, {p.rows(), width + 3})),
        weight(make(dtype, {p.tokens, p.top_k})),
        x(wide_x.view().columns(2, width)),
        rows(wide_rows.view().columns(1, width)) {}
  Buffer wide_x, wide_rows, weight;
  View x, rows;
};

/// Small integers: sums and products of theirs are exact in both dtypes and in any order.
std::function<Buffer(Dtype, Shape)> integers(Random& random) {
  return [&random](Dtype dtype, Shape shape) {
    Buffer b(dtype, shape);
    for_float(dtype, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t i = 0; i < shape.count(); ++i) b.view().as<T>()[i] = static_cast<T>(random.integer(-8, 8));
    });
    return b;
  };
}

/// Calls f(permutation, operands of small integers) for shapes, capacities and both backends.
void for_row_cases(Backend fast,
                   const std::function<void(Context&, Dtype, const Permuted&, const Rows&)>& f) {
  Random random;
  SCOPED_TRACE("NATRIX_TEST_SEED=" + std::to_string(random.seed()));
  Context reference(Backend::kReference), cpu(fast);
  for (int64_t capacity : capacities()) {
    for (int64_t width : awkward_sizes()) {
      for (int64_t tokens : {0, 1, 23}) {
        const int64_t experts = expert_counts()[static_cast<size_t>(random.integer(0, 6))];
        const Permuted p(random, tokens, experts, random.integer(1, std::min<int64_t>(experts, 5)), capacity);
        SCOPED_TRACE("T " + std::to_string(tokens) + " D " + std::to_string(width) + " E " +
                     std::to_string(experts) + " k " + std::to_string(p.top_k) + " capacity " +
                     std::to_string(capacity));
        f(reference, Dtype::kF64, p, Rows(p, Dtype::kF64, width, integers(random)));
        f(cpu, Dtype::kF32, p, Rows(p, Dtype::kF32, width, integers(random)));
      }
    }
  }
}

TEST_P(RoutingRowsOnTargets, GatherCopiesAndItsBackwardIsTheAdjoint) {
  for_row_cases(backend(), [](Context& ctx, Dtype dtype, const Permuted& p, const Rows& o) {
    const int64_t width = o.x.cols();
    Buffer gathered = poisoned(dtype, {p.rows(), width}), dx = poisoned(dtype, {p.tokens, width});
    gather_rows(ctx, {.x = o.x, .slot_of_row = p.slot_of_row(), .top_k = p.top_k, .rows = gathered.view()});
    gather_rows_backward(ctx, {.drows = o.rows, .row_of_slot = p.row_of_slot.view(), .dx = dx.view()});
    for (int64_t r = 0; r < p.rows(); ++r) {
      const int64_t token = p.slot_of_row().as<int64_t>()[r] / p.top_k;
      ASSERT_TRUE(same_bits(gathered.view().row_range(r, 1), o.x.row_range(token, 1)));
    }
    ASSERT_EQ(dot(gathered.view(), o.rows), dot(o.x, dx.view()));

    Buffer twice(dtype, {p.tokens, width});
    for (int i = 0; i < 2; ++i) {
      gather_rows_backward(
          ctx,
          {.drows = o.rows, .row_of_slot = p.row_of_slot.view(), .dx = twice.view(), .accumulate = true});
    }
    ASSERT_EQ(dot(o.x, twice.view()), 2 * dot(o.x, dx.view()));
  });
}

TEST_P(RoutingRowsOnTargets, CombineIsWeightedAndItsBackwardIsTheAdjoint) {
  for_row_cases(backend(), [](Context& ctx, Dtype dtype, const Permuted& p, const Rows& o) {
    const int64_t width = o.x.cols();
    Buffer y = poisoned(dtype, {p.tokens, width}), drows = poisoned(dtype, {p.rows(), width});
    Buffer dweight = poisoned(dtype, {p.tokens, p.top_k});
    const View dy = o.x;
    combine_rows(
        ctx, {.rows = o.rows, .row_of_slot = p.row_of_slot.view(), .weight = o.weight.view(), .y = y.view()});
    combine_rows_backward(ctx, {.rows = o.rows,
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = o.weight.view(),
                                .dy = dy,
                                .drows = drows.view(),
                                .dweight = dweight.view()});
    // y is linear in the rows and, for given rows, in the weights.
    ASSERT_EQ(dot(y.view(), dy), dot(o.rows, drows.view()));
    ASSERT_EQ(dot(y.view(), dy), dot(o.weight.view(), dweight.view()));
    for (int64_t s = 0; s < p.tokens * p.top_k; ++s) {
      const int64_t row = p.row_of_slot.view().as<int64_t>()[s], token = s / p.top_k;
      const double want = row < 0 ? 0.0 : dot(o.rows.row_range(row, 1), dy.row_range(token, 1));
      for_float(dtype, [&](auto zero) {
        ASSERT_EQ(static_cast<double>(dweight.view().as<decltype(zero)>()[s]), want);
      });
    }

    // Into the memory of rows, and on top of what is there.
    Buffer alias = as(dtype, o.rows);
    combine_rows_backward(ctx, {.rows = alias.view(),
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = o.weight.view(),
                                .dy = dy,
                                .drows = alias.view(),
                                .dweight = dweight.view()});
    ASSERT_TRUE(same_bits(alias.view(), drows.view()));
    combine_rows(ctx, {.rows = o.rows,
                       .row_of_slot = p.row_of_slot.view(),
                       .weight = o.weight.view(),
                       .y = y.view(),
                       .accumulate = true});
    ASSERT_EQ(dot(y.view(), dy), 2 * dot(o.rows, drows.view()));
  });
}

TEST_P(RoutingRowsOnTargets, RowsMatchReference) {
  Random random;
  Context reference(Backend::kReference), cpu(backend());
  const auto normal = [&](Dtype dtype, Shape shape) { return random.normal(dtype, shape); };
  for (int64_t width : awkward_sizes()) {
    const Permuted p(random, 37, 8, 3, 11);
    const Rows fast(p, Dtype::kF32, width, normal);
    const auto f64 = [](View v) { return as(Dtype::kF64, v); };
    const Buffer rows = f64(fast.rows), weight = f64(fast.weight.view()), dy = f64(fast.x);
    Buffer y = poisoned(Dtype::kF32, {37, width}), want_y(Dtype::kF64, {37, width});
    combine_rows(cpu, {.rows = fast.rows,
                       .row_of_slot = p.row_of_slot.view(),
                       .weight = fast.weight.view(),
                       .y = y.view()});
    combine_rows(reference, {.rows = rows.view(),
                             .row_of_slot = p.row_of_slot.view(),
                             .weight = weight.view(),
                             .y = want_y.view()});
    EXPECT_LT(relative_difference(y.view(), want_y.view()), f32_tolerance(3));

    Buffer drows = poisoned(Dtype::kF32, {p.rows(), width}), want_drows(Dtype::kF64, {p.rows(), width});
    Buffer dweight = poisoned(Dtype::kF32, {37, 3}), want_dweight(Dtype::kF64, {37, 3});
    combine_rows_backward(cpu, {.rows = fast.rows,
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = fast.weight.view(),
                                .dy = fast.x,
                                .drows = drows.view(),
                                .dweight = dweight.view()});
    combine_rows_backward(reference, {.rows = rows.view(),
                                      .row_of_slot = p.row_of_slot.view(),
                                      .slot_of_row = p.slot_of_row(),
                                      .weight = weight.view(),
                                      .dy = dy.view(),
                                      .drows = want_drows.view(),
                                      .dweight = want_dweight.view()});
    EXPECT_LT(relative_difference(drows.view(), want_drows.view()), f32_tolerance(1));
    EXPECT_LT(relative_difference(dweight.view(), want_dweight.view()), f32_tolerance(width));
  }
}

/// Rows in the order of their slots need no one to say where they are.
TEST_P(RoutingRowsOnTargets, RowsOfSlotsInOrderNeedNoPermutation) {
  Random random;
  Context ctx(backend());
  constexpr int64_t kTokens = 7, kTopK = 3, kWidth = 37;
  const Buffer rows = random.normal(Dtype::kF32, {kTokens * kTopK, kWidth});
  const Buffer weight = random.normal(Dtype::kF32, {kTokens, kTopK});
  const Buffer in_order(Dtype::kI64, {kTokens, kTopK});
  std::iota(in_order.view().as<int64_t>(), in_order.view().as<int64_t>() + kTokens * kTopK, 0);
  const Buffer want(Dtype::kF32, {kTokens, kWidth}), got = poisoned(Dtype::kF32, {kTokens, kWidth});
  combine_rows(
      ctx, {.rows = rows.view(), .row_of_slot = in_order.view(), .weight = weight.view(), .y = want.view()});
  combine_rows(ctx, {.rows = rows.view(), .weight = weight.view(), .y = got.view()});
  EXPECT_TRUE(same_bits(got.view(), want.view())) << random.seed();
}

TEST_P(RoutingRowsOnTargets, RowsDoNotDependOnThreads) {
  Random random;
  const Permuted p(random, 301, 8, 3, 90);
  const Rows o(p, Dtype::kF32, 1021, [&](Dtype dtype, Shape shape) { return random.normal(dtype, shape); });
  struct Outputs {
    Buffer rows, y, drows, dweight;
  };
  const auto run = [&](int threads) {
    Context ctx(backend(), threads);
    Outputs out{Buffer(Dtype::kF32, {p.rows(), 1021}), Buffer(Dtype::kF32, {301, 1021}),
                Buffer(Dtype::kF32, {p.rows(), 1021}), Buffer(Dtype::kF32, {301, 3})};
    gather_rows(ctx, {.x = o.x, .slot_of_row = p.slot_of_row(), .top_k = 3, .rows = out.rows.view()});
    combine_rows(
        ctx,
        {.rows = o.rows, .row_of_slot = p.row_of_slot.view(), .weight = o.weight.view(), .y = out.y.view()});
    combine_rows_backward(ctx, {.rows = o.rows,
                                .row_of_slot = p.row_of_slot.view(),
                                .slot_of_row = p.slot_of_row(),
                                .weight = o.weight.view(),
                                .dy = o.x,
                                .drows = out.drows.view(),
                                .dweight = out.dweight.view()});
    return out;
  };
  const Outputs one = run(1);
  for (int threads : {2, 3}) {
    const Outputs other = run(threads);
    EXPECT_TRUE(same_bits(other.rows.view(), one.rows.view()));
    EXPECT_TRUE(same_bits(other.y.view(), one.y.view()));
    EXPECT_TRUE(same_bits(other.drows.view(), one.drows.view()));
    EXPECT_TRUE(same_bits(other.dweight.view(), one.dweight.view()));
  }
}

/// Rows so far apart that their offsets pass 2^31 and 2^32; only the pages touched take memory.
TEST(RoutingRows, OffsetsPass32Bits) {
  constexpr int64_t kStride = (int64_t{1} << 31) + 7, kRows = 3, kWidth = 5;
  const size_t bytes = sizeof(float) * static_cast<size_t>(kRows * kStride);
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const View sparse(memory, Dtype::kF32, {kRows, kWidth}, kStride);
  Random random;
  Buffer permutation(Dtype::kI64, {kRows, 1});  // its own inverse
  for (int64_t i = 0; i < kRows; ++i) permutation.view().as<int64_t>()[i] = kRows - 1 - i;
  const View slot_of_row = permutation.view().reshaped({kRows});
  Buffer weight(Dtype::kF32, {kRows, 1});
  std::fill_n(weight.view().as<float>(), kRows, 1.0f);

  for (Backend backend : backends()) {
    Context ctx(backend);
    const Buffer x = random.normal(Dtype::kF32, {kRows, kWidth});
    Buffer back(Dtype::kF32, {kRows, kWidth});
    gather_rows(ctx, {.x = x.view(), .slot_of_row = slot_of_row, .rows = sparse});
    combine_rows(
        ctx, {.rows = sparse, .row_of_slot = permutation.view(), .weight = weight.view(), .y = back.view()});
    EXPECT_TRUE(same_bits(back.view(), x.view()));
  }
  munmap(memory, bytes);
}

}  // namespace
}  // namespace natrix::test
