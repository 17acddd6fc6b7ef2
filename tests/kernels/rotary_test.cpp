// Rotary embedding: the reference against torch in double (tests/data/kernels) and its formula, the CPU's
// against the reference, and frequencies against numbers made by transformers' formulas.
#include "kernels/rotary.h"

#include <array>
#include <cmath>
#include <gtest/gtest.h>

#include "core/files/safetensors.h"
#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

class RotaryOracle : public ::testing::TestWithParam<const char*> {
 protected:
  Safetensors oracle{std::string(NATRIX_TEST_DATA) + "/kernels/rope_" + GetParam() + ".safetensors"};

  View flat(const std::string& name) const {
    const View v = oracle.at(name);
    return v.reshaped({v.extent(0), v.extent(1), v.extent(2) * v.extent(3)});
  }

  void expect_agreement(Context& ctx, Dtype dtype, double tolerance) const {
    const Buffer x = as(dtype, flat("in.x")), dy = as(dtype, flat("seed.y"));
    const std::vector<double> frequencies =
        rotary_frequencies({.theta = oracle.at("in.theta").as<double>()[0],
                            .width = oracle.at("in.rotary_dim").as<int64_t>()[0]});
    Buffer position(Dtype::kI64, {x.view().extent(0)});
    std::fill_n(position.view().as<int64_t>(), position.view().count(),
                oracle.at("in.position").as<int64_t>()[0]);
    Rotary args{.x = x.view(),
                .head_dim = oracle.at("in.x").extent(3),
                .frequencies = frequencies,
                .position = position.view(),
                .y = x.view()};
    rotary(ctx, args);
    EXPECT_LE(relative_difference(x.view(), flat("out.y")), tolerance);
    args.x = args.y = dy.view();
    args.reverse = true;
    rotary(ctx, args);
    EXPECT_LE(relative_difference(dy.view(), flat("grad.x")), tolerance);
  }
};

INSTANTIATE_TEST_SUITE_P(Files, RotaryOracle, ::testing::Values("small", "far"));

TEST_P(RotaryOracle, ReferenceAgreesInDouble) {
  Context ctx(Backend::kReference);
  expect_agreement(ctx, Dtype::kF64, GetParam() == std::string("far") ? 1e-9 : 1e-12);
}

TEST_P(RotaryOracle, SingleAgrees) {
  for (const Backend backend : {Backend::kReference, Backend::kCpu}) {
    Context ctx(backend);
    expect_agreement(ctx, Dtype::kF32, f32_tolerance(1));
  }
}

struct RotaryCase {
  Buffer x, doc_start, position;
  int64_t head_dim;
  std::vector<double> frequencies;

  Rotary args(View in, View out) const {
    return {.x = in,
            .head_dim = head_dim,
            .frequencies = frequencies,
            .position = position.view(),
            .doc_start = doc_start.view(),
            .y = out};
  }
};

RotaryCase fresh(Random& random, int64_t batch, int64_t tokens, int64_t heads, int64_t head_dim,
                 int64_t width) {
  RotaryCase c{random.normal(Dtype::kF32, {batch, tokens, heads * head_dim}),
               random.document_starts(batch, tokens, 0.03), Buffer(Dtype::kI64, {batch}), head_dim,
               rotary_frequencies({.theta = 1e4, .width = width})};
  for (int64_t b = 0; b < batch; ++b) c.position.view().as<int64_t>()[b] = random.integer(0, 2000000);
  return c;
}

using RotaryTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, RotaryTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(RotaryTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  for (const auto& [tokens, D, width] : std::vector<std::array<int64_t, 3>>{
           {1, 2, 2}, {150, 64, 64}, {67, 80, 20}, {33, 10, 6}, {3, 17, 16}}) {
    const RotaryCase c = fresh(random, 2, tokens, 3, D, width);
    const Buffer exact = as(Dtype::kF64, c.x.view());
    Buffer got = poisoned(Dtype::kF32, c.x.view().shape), want = poisoned(Dtype::kF64, c.x.view().shape);
    for (const bool reverse : {false, true}) {
      Rotary args = c.args(c.x.view(), got.view()), exact_args = c.args(exact.view(), want.view());
      args.reverse = exact_args.reverse = reverse;
      args.magnitude = exact_args.magnitude = 1.25;
      rotary(ctx, args);
      rotary(reference, exact_args);
      EXPECT_LE(relative_difference(got.view(), want.view()), f32_tolerance(1))
          << tokens << ", " << D << ", " << width << ", seed " << random.seed();
    }
  }
}

TEST_P(RotaryTargets, ChunksThreadsStridesAndAliasesChangeNoBit) {
  Random random;
  Context ctx(backend()), one(backend(), 1);
  const RotaryCase c = fresh(random, 1, 300, 2, 20, 12);
  Buffer want = poisoned(Dtype::kF32, c.x.view().shape);
  rotary(one, c.args(c.x.view(), want.view()));
  const StridedCopy strided(c.x.view());
  rotary(ctx, c.args(strided.view(), strided.view()));
  EXPECT_TRUE(same_bits(strided.view(), want.view()) && strided.padding_untouched());
  for (const int64_t chunk : {64, 7, 1}) {
    Buffer y = copy_of(c.x.view()), position = copy_of(c.position.view());
    for (int64_t t = 0; t < 300; t += chunk) {
      const int64_t count = std::min(chunk, 300 - t);
      const uint8_t* starts = c.doc_start.view().as<uint8_t>() + t;
      Rotary args = c.args(tokens_of(y.view(), t, count), tokens_of(y.view(), t, count));
      args.position = position.view();
      args.doc_start = View(const_cast<uint8_t*>(starts), Dtype::kU8, {1, count});
      rotary(ctx, args);
      int64_t& at = position.view().as<int64_t>()[0];
      for (int64_t i = 0; i < count; ++i) at = starts[i] != 0 ? 1 : at + 1;
    }
    EXPECT_TRUE(same_bits(y.view(), want.view())) << "chunk " << chunk << ", seed " << random.seed();
  }
}

TEST(Rotary, RefusesWhatBreaksItsContract) {
  Context ctx(Backend::kCpu);
  const Buffer x(Dtype::kF32, {2, 3, 8}), y(Dtype::kF32, {2, 3, 4}), position(Dtype::kI64, {3});
  const std::vector<double> f(2, 0.5), many(3, 0.5);
  EXPECT_THROW(rotary(ctx, {.x = x.view(), .head_dim = 4, .frequencies = f, .y = y.view()}), ContractError);
  EXPECT_THROW(rotary(ctx, {.x = x.view(), .head_dim = 3, .frequencies = f, .y = x.view()}), ContractError);
  EXPECT_THROW(rotary(ctx, {.x = x.view(), .head_dim = 4, .frequencies = many, .y = x.view()}),
               ContractError);
  EXPECT_THROW(
      rotary(ctx,
             {.x = x.view(), .head_dim = 4, .frequencies = f, .position = position.view(), .y = x.view()}),
      ContractError);
  EXPECT_THROW(rotary_frequencies({.width = 3}), ContractError);
  EXPECT_THROW(rotary_frequencies({.width = 4, .scaling = RotaryScaling::kLlama3}), ContractError);
}

TEST(RotaryDry, CountsBytes) {
  Context ctx(Context::Dry{Backend::kCpu});
  const Buffer x(Dtype::kF32, {2, 3, 8}, Memory::kDry);
  const std::vector<double> f(2, 0.5);
  rotary(ctx, {.x = x.view(), .head_dim = 4, .frequencies = f, .y = x.view()});
  EXPECT_EQ(ctx.ledger().of(Work::kElements).bytes, 2 * 2 * 3 * 8 * 4);
}

TEST(RotaryFrequencies, PlainAndLinear) {
  const std::vector<double> plain = rotary_frequencies({.theta = 100, .width = 4});
  EXPECT_DOUBLE_EQ(plain[0], 1);
  EXPECT_DOUBLE_EQ(plain[1], 0.1);
  const std::vector<double> linear =
      rotary_frequencies({.theta = 100, .width = 4, .scaling = RotaryScaling::kLinear, .factor = 4});
  EXPECT_DOUBLE_EQ(linear[1], 0.025);
}

/// Elements 0, 9, 12, 14, 16, 20 and 31.
void expect_some(const std::vector<double>& got, const std::vector<double>& want) {
  constexpr size_t kAt[] = {0, 9, 12, 14, 16, 20, 31};
  ASSERT_EQ(got.size(), 32u);
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[kAt[i]], want[i], 1e-12 * want[i]) << kAt[i];
}

TEST(RotaryFrequencies, Llama3) {
  expect_some(rotary_frequencies({.theta = 500000,
                                  .width = 64,
                                  .scaling = RotaryScaling::kLlama3,
                                  .factor = 8,
                                  .original_length = 8192,
                                  .low_freq_factor = 1,
                                  .high_freq_factor = 4}),
              {1, 0.024955408670558694, 0.0072926647372171085, 0.0032114459947525913, 0.00052484616099295468,
               3.4281021959525912e-05, 3.7673226901739635e-07});
}

TEST(RotaryFrequencies, Yarn) {
  RotaryFrequencies args{
      .theta = 10000, .width = 64, .scaling = RotaryScaling::kYarn, .factor = 4, .original_length = 2048};
  expect_some(rotary_frequencies(args),
              {1, 0.070663108187096799, 0.024325212770525993, 0.011627211527177573, 0.0053846153846153844,
               0.00097300851082103958, 3.3338035804083099e-05});
  args.truncate = false;
  expect_some(rotary_frequencies(args),
              {1, 0.070617553783085665, 0.023870192321736323, 0.011207951957965694, 0.0050569715211294351,
               0.00081129038170143087, 3.3338035804083099e-05});
  EXPECT_DOUBLE_EQ(yarn_magnitude(4), 1.1386294361119891);
  EXPECT_EQ(yarn_magnitude(0.5), 1);
}

}  // namespace
}  // namespace natrix::test
