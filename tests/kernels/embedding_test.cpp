// Token embedding: rows copied by number and gradients added up in order are exact, so everything here is
// compared to the bit: the two backends, any number of threads, rows that are strided.
#include "kernels/embedding.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "tests/kernels/operands.h"

namespace natrix::test {
namespace {

/// tokens [R], weight [V, D], dy [R, D] and what dweight holds before.
struct EmbeddingCase {
  Buffer tokens;
  Buffers in;

  static EmbeddingCase fresh(Random& random, Dtype dtype, int64_t rows, int64_t vocabulary, int64_t cols) {
    EmbeddingCase c{Buffer(Dtype::kI64, {rows}), {}};
    for (int64_t r = 0; r < rows; ++r) c.token(r) = random.integer(0, vocabulary - 1);
    c.in["weight"] = random.normal(dtype, {vocabulary, cols});
    c.in["before"] = random.normal(dtype, {vocabulary, cols});
    c.in["dy"] = random.normal(dtype, {rows, cols});
    return c;
  }
  View operator[](const std::string& name) const { return in.at(name).view(); }
  int64_t& token(int64_t r) const { return tokens.view().as<int64_t>()[r]; }
};

Buffers run(Context& ctx, const EmbeddingCase& c) {
  Buffers out;
  out["y"] = poisoned(c["dy"].dtype, c["dy"].shape);
  out["dweight"] = copy_of(c["before"]);
  embedding_forward(ctx, {.tokens = c.tokens.view(), .weight = c["weight"], .y = out["y"].view()});
  embedding_backward(ctx, {.tokens = c.tokens.view(), .dy = c["dy"], .dweight = out["dweight"].view()});
  return out;
}

std::string hint(const EmbeddingCase& c, const Random& random) {
  return c["dy"].to_string() + " of " + c["weight"].to_string() + ", seed " + std::to_string(random.seed());
}

class Embedding : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Embedding, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

/// Three rows are of one token, so their gradients add up, onto what is there.
TEST_P(Embedding, ByHand) {
  Context ctx(GetParam());
  EmbeddingCase c{Buffer(Dtype::kI64, {2, 2}), {}};
  const int64_t tokens[] = {2, 0, 2, 2};
  std::copy_n(tokens, 4, c.tokens.view().as<int64_t>());
  const Buffer weight = floats({3, 2}, {1, 2, 3, 4, 5, 6});
  const Buffer dy = floats({2, 2, 2}, {1, 10, 2, 20, 3, 30, 4, 40}), y(Dtype::kF32, {2, 2, 2});
  const Buffer dweight = floats({3, 2}, {100, 100, 100, 100, 100, 100});
  embedding_forward(ctx, {.tokens = c.tokens.view(), .weight = weight.view(), .y = y.view()});
  embedding_backward(ctx, {.tokens = c.tokens.view(), .dy = dy.view(), .dweight = dweight.view()});
  EXPECT_EQ(floats_of(y.view()), (std::vector<float>{5, 6, 1, 2, 5, 6, 5, 6}));
  EXPECT_EQ(floats_of(dweight.view()), (std::vector<float>{102, 120, 100, 100, 108, 180}));
}

TEST_P(Embedding, RowsMayBeStrided) {
  Random random;
  Context ctx(GetParam());
  const auto c = EmbeddingCase::fresh(random, Dtype::kF32, 11, 5, 35);
  const Buffers want = run(ctx, c);
  const StridedCopy weight(c["weight"]), dy(c["dy"]), y(c["dy"]), dweight(c["before"]);
  embedding_forward(ctx, {.tokens = c.tokens.view(), .weight = weight.view(), .y = y.view()});
  embedding_backward(ctx, {.tokens = c.tokens.view(), .dy = dy.view(), .dweight = dweight.view()});
  EXPECT_TRUE(same_bits(y.view(), want.at("y").view())) << hint(c, random);
  EXPECT_TRUE(same_bits(dweight.view(), want.at("dweight").view())) << hint(c, random);
  EXPECT_TRUE(y.padding_untouched() && dweight.padding_untouched());
}

TEST_P(Embedding, ZeroGradientsLeaveTheSum) {
  Random random;
  Context ctx(GetParam());
  auto c = EmbeddingCase::fresh(random, Dtype::kF32, 9, 4, 19);
  c.in["dy"] = filled(Dtype::kF32, {9, 19}, 0.0);
  EXPECT_TRUE(same_bits(run(ctx, c).at("dweight").view(), c["before"])) << hint(c, random);
}

TEST_P(Embedding, RefusesWhatBreaksItsContract) {
  Context ctx(GetParam());
  const Buffer tokens(Dtype::kI64, {3}), narrow(Dtype::kI32, {3}), table(Dtype::kF32, {5, 4}),
      rows(Dtype::kF32, {3, 4}), fewer(Dtype::kF32, {2, 4}), wider(Dtype::kF32, {3, 5});
  const auto forward = [&](const Buffer& t, const Buffer& y) {
    embedding_forward(ctx, {.tokens = t.view(), .weight = table.view(), .y = y.view()});
  };
  const auto backward = [&](const Buffer& t, const Buffer& dy) {
    embedding_backward(ctx, {.tokens = t.view(), .dy = dy.view(), .dweight = table.view()});
  };
  EXPECT_NO_THROW(forward(tokens, rows));
  EXPECT_NO_THROW(backward(tokens, rows));
  EXPECT_THROW(forward(narrow, rows), ContractError);
  EXPECT_THROW(backward(narrow, rows), ContractError);
  for (const Buffer* bad : {&fewer, &wider}) {
    EXPECT_THROW(forward(tokens, *bad), ContractError);
    EXPECT_THROW(backward(tokens, *bad), ContractError);
  }
}

/// The embedding is linear in its table, so the differences are exact but for rounding.
TEST(EmbeddingReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  auto c = EmbeddingCase::fresh(random, Dtype::kF64, 12, 5, 7);
  c.in["before"] = filled(Dtype::kF64, {5, 7}, 0.0);
  const auto loss = [&] { return dot(run(ctx, c).at("y").view(), c["dy"]); };
  const Buffers gradient = run(ctx, c);
  EXPECT_LE(finite_difference_error(c["weight"], gradient.at("dweight").view(), loss), 1e-6)
      << hint(c, random);
}

TEST(EmbeddingCpu, HasTheBitsOfTheReferenceOnAnyNumberOfThreads) {
  Random random;
  Context reference(Backend::kReference);
  std::vector<int64_t> widths = awkward_sizes();
  for (const int64_t more : {127, 129, 700}) widths.push_back(more);  // a thread takes 128 columns
  for (const int threads : {1, 2, 3}) {
    Context ctx(Backend::kCpu, threads);
    for (const int64_t cols : widths) {
      for (const int64_t rows : {0, 1, 211}) {
        const auto c = EmbeddingCase::fresh(random, Dtype::kF32, rows, random.integer(1, 20), cols);
        expect_same_bits(Views(run(ctx, c)), Views(run(reference, c)), hint(c, random));
      }
    }
  }
}

TEST(EmbeddingCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const auto c = EmbeddingCase::fresh(random, Dtype::kF64, 2, 3, 4);
  Buffer y = copy_of(c["dy"]), dweight = copy_of(c["weight"]);
  EXPECT_THROW(embedding_forward(ctx, {.tokens = c.tokens.view(), .weight = c["weight"], .y = y.view()}),
               ContractError);
  EXPECT_THROW(embedding_backward(ctx, {.tokens = c.tokens.view(), .dy = c["dy"], .dweight = dweight.view()}),
               ContractError);
}

}  // namespace
}  // namespace natrix::test
