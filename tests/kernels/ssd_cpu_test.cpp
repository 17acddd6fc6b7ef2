// The CPU kernels of Mamba-2 against the reference, on every instruction set of this machine; and in pieces:
// other segments, strides, threads and documents.
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/ssd.h"
#include "tests/kernels/ssd_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

/// Rounding errors add up along the sums that end in a result. All sums over tokens can enter all results.
double tolerance(const std::string& name, const SsdSizes& s) {
  if (name == "B" || name == "C") return f32_tolerance(s.tokens * s.heads * s.channels);
  if (name == "y" || name == "state_out" || name == "state" || name == "x")
    return f32_tolerance(s.tokens * s.states);
  return f32_tolerance(s.tokens * s.states * s.channels);
}

std::string hint(const SsdCase& c, const Random& random) {
  return c.size.to_string() + ", seed " + std::to_string(random.seed());
}

/// The same case with nothing to cancel.
SsdCase magnitudes(const SsdCase& c) {
  SsdCase m = c.as(Dtype::kF64);
  for (auto& [name, buffer] : m.in) {
    if (name != "A_log" && name != "dt" && name != "dt_bias") buffer = absolute(buffer.view());
  }
  return m;
}

void expect_reference(Context& ctx, const SsdCase& c, const std::string& hint) {
  Context reference(Backend::kReference);
  const SsdCase exact = c.as(Dtype::kF64), large = magnitudes(c);
  const auto allowed = [&](const std::string& name) { return tolerance(name, c.size); };
  expect_close(run_forward(ctx, c), run_forward(reference, exact), run_forward(reference, large), allowed,
               hint);

  Buffers of_gradients = run_backward(reference, large);
  // ddt = Σ p A + Σ R B x, and A is negative: the two still cancel. The second is at most Σ_p dx x / Δ.
  const double *dx = of_gradients["x"].view().as<double>(), *x = large["x"].as<double>();
  double *ddt = of_gradients["dt"].view().as<double>(), *dA_log = of_gradients["A_log"].view().as<double>();
  for (int64_t h = 0; h < c.size.heads; ++h) dA_log[h] = std::fabs(dA_log[h]);
  for (int64_t i = 0; i < large["dt"].count(); ++i) {
    const int64_t h = i % c.size.heads;
    const double bias = large["dt_bias"] ? large["dt_bias"].as<double>()[h] : 0;
    const double raw = large["dt"].as<double>()[i] + bias,
                 step = std::clamp(raw > 20 ? raw : std::log1p(std::exp(raw)), c.dt_min, c.dt_max);
    double through_pairs = 0;  // of tokens; their parts of the gradient of the decays between them cancel
    for (int64_t p = 0; p < c.size.channels; ++p)
      through_pairs += dx[i * c.size.channels + p] * x[i * c.size.channels + p];
    ddt[i] = std::fabs(ddt[i]) + 2 * through_pairs / step / (1 + std::exp(-raw));
    dA_log[h] += std::exp(large["A_log"].as<double>()[h]) * step * through_pairs;
  }
  if (large["dt_bias"]) {
    double* sum = of_gradients["dt_bias"].view().as<double>();
    for (int64_t h = 0; h < c.size.heads; ++h) sum[h] = 0;
    for (int64_t i = 0; i < large["dt"].count(); ++i) sum[i % c.size.heads] += ddt[i];
  }
  expect_close(run_backward(ctx, c), run_backward(reference, exact), of_gradients, allowed, hint);
}

/// A decay counts against 1, what it leaves of a state when nothing decays: e^−40 is as good as 0.
Buffers decay_against_one(Buffers summary) {
  summary["decay"] = filled(Dtype::kF64, summary["decay"].view().shape, 1.0);
  return summary;
}

void expect_reference_summaries(Context& ctx, const SsdCase& c, const std::string& hint) {
  Context reference(Backend::kReference);
  const SsdCase exact = c.as(Dtype::kF64), large = magnitudes(c);
  const auto allowed = [&](const std::string& name) { return tolerance(name, c.size); };
  expect_close(run_summary(ctx, c), run_summary(reference, exact),
               decay_against_one(run_summary(reference, large)), allowed, hint);
  expect_close(run_summary_backward(ctx, c), run_summary_backward(reference, exact),
               decay_against_one(run_summary_backward(reference, large)), allowed, hint);
}

SsdSizes awkward_ssd(Random& random) {
  const auto pick = [&](const std::vector<int64_t>& from) {
    return from[static_cast<size_t>(random.integer(0, static_cast<int64_t>(from.size()) - 1))];
  };
  const int64_t groups = pick({1, 1, 2, 3}), heads = groups * pick({1, 1, 2, 5});
  return {random.integer(1, 2),
          pick({1, 2, 7, 31, 63, 64, 65, 67, 130, 193}),
          heads,
          pick({1, 3, 8, 13, 16, 17, 33, 64}),
          pick({1, 2, 5, 16, 17, 31, 67}),
          groups};
}

SsdExtras any_extras(Random& random) {
  const auto coin = [&] { return random.integer(0, 1) == 1; };
  SsdExtras extras{.documents = coin(), .D = coin(), .dt_bias = coin(), .carries = coin()};
  if (random.integer(0, 3) == 0) extras.dt_min = 0.01, extras.dt_max = 0.2;
  return extras;
}

class SsdTargets : public OnEveryTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, SsdTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(SsdTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend());
  for (int i = 0; i < 25; ++i) {
    const SsdCase c = SsdCase::fresh(random, Dtype::kF32, awkward_ssd(random), any_extras(random));
    expect_reference(ctx, c, hint(c, random));
  }
}

TEST_P(SsdTargets, SummariesAgreeWithTheReference) {
  Random random;
  Context ctx(backend());
  for (int i = 0; i < 15; ++i) {
    const SsdCase c = SsdCase::fresh(random, Dtype::kF32, awkward_ssd(random), any_extras(random));
    expect_reference_summaries(ctx, c, hint(c, random));
  }
}

/// Heads that fill whole blocks of registers, and more heads than a task has.
TEST_P(SsdTargets, AgreesWithUsualSizes) {
  Random random;
  Context ctx(backend());
  const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 150, 6, 64, 128});
  expect_reference(ctx, c, hint(c, random));
}

/// A document that starts at the first token, at every token, and at the edges of tiles.
TEST_P(SsdTargets, AgreesWhereDocumentsStartAnywhere) {
  Random random;
  Context ctx(backend());
  for (const std::vector<int64_t>& starts :
       {std::vector<int64_t>{0}, {63}, {64}, {63, 64, 65}, {0, 1, 128}, {129}, {}}) {
    SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 130, 2, 5, 6});
    for (int64_t t = 0; t < 130; ++t)
      c.doc_start.view().as<uint8_t>()[t] =
          starts.empty() || std::find(starts.begin(), starts.end(), t) != starts.end();
    expect_reference(ctx, c, hint(c, random));
    expect_reference_summaries(ctx, c, hint(c, random));
  }
}

/// Steps after which nothing is left of a state: in some tiles, in all of them, and only just.
TEST_P(SsdTargets, AgreesWhereDecaysUnderflow) {
  Random random;
  Context ctx(backend());
  for (const double longest : {20.0, 1e3, 1e6}) {
    SsdCase c = SsdCase::fresh(random, Dtype::kF32, {2, 100, 3, 7, 5});
    float* dt = c["dt"].as<float>();
    for (int i = 0; i < 10; ++i)
      dt[random.integer(0, c["dt"].count() - 1)] =
          static_cast<float>(longest / static_cast<double>(random.integer(1, 4)));
    expect_reference(ctx, c, hint(c, random));
  }
}

/// With steps so short that a state outlives several stretches: what one hands to the next matters.
TEST_P(SsdTargets, AgreesBeyondOneStretch) {
  Random random;
  Context ctx(backend());
  SsdCase c = SsdCase::fresh(random, Dtype::kF32, {2, 2 * 512 + 77, 3, 5, 6}, {.documents = false});
  for (int64_t i = 0; i < c["dt"].count(); ++i) c["dt"].as<float>()[i] -= 5;
  expect_reference(ctx, c, hint(c, random));
}

/// A long document whose decays are slow after a fast one: sums of rates must not lose the small ones.
TEST_P(SsdTargets, SlowDecaysAfterFastOnesAreExact) {
  Random random;
  Context ctx(backend());
  SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 64, 2, 5, 6}, {.documents = false, .dt_bias = false});
  for (int64_t i = 0; i < c["dt"].count(); ++i) c["dt"].as<float>()[i] = i < 60 ? 80.0f : -4.0f;
  for (int64_t h = 0; h < 2; ++h) c["A_log"].as<float>()[h] = 0;  // 2^−115 a step, not quite nothing
  const Buffers got = run_forward(ctx, c);
  Context reference(Backend::kReference);
  const Buffers want = run_forward(reference, c.as(Dtype::kF64));
  for (const char* name : {"y", "state_out"})
    EXPECT_LE(relative_difference(got.at(name).view(), want.at(name).view()), 5e-6)
        << name << ", " << hint(c, random);
}

/// Whole and in segments, forward and backward: the state goes on, its gradient goes back.
TEST_P(SsdTargets, SegmentsAgreeWithTheWhole) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 150, 3, 17, 9});
  const SsdCase large = magnitudes(c);
  const Buffers whole = run_forward(ctx, c), whole_gradients = run_backward(ctx, c);
  const Buffers most = run_forward(reference, large);
  Buffers most_gradients = run_backward(reference, large);
  const std::vector<int64_t> ends = {1, 2, 65, 66, 129, 150};
  std::vector<SsdCase> parts;
  Buffer state = copy_of(c["state_in"]);
  for (int64_t begin = 0; const int64_t end : ends) {
    SsdCase part = c.part(begin, end - begin);
    part.in["state_in"] = copy_of(state.view());
    Buffers out = run_forward(ctx, part);
    const double scale = largest(most.at("y").view());
    const View want = tokens_of(whole.at("y").view(), begin, end - begin);
    for (int64_t i = 0; i < want.count(); ++i) {
      ASSERT_NEAR(out.at("y").view().as<float>()[i], want.as<float>()[i], 1e-5 * scale)
          << "token " << begin << ", " << hint(c, random);
    }
    state = std::move(out["state_out"]);
    parts.push_back(std::move(part));
    begin = end;
  }
  EXPECT_LE(relative_difference(state.view(), whole.at("state_out").view()), 1e-4) << hint(c, random);

  Buffer dstate = copy_of(c["dstate_out"]);
  for (size_t k = parts.size(); k-- > 0;) {
    parts[k].in["dstate_out"] = copy_of(dstate.view());
    Buffers gradients = run_backward(ctx, parts[k]);
    for (const char* name : {"x", "dt", "B", "C"}) {
      const int64_t begin = k == 0 ? 0 : ends[k - 1];
      const View want = tokens_of(whole_gradients.at(name).view(), begin, ends[k] - begin);
      const double scale = largest(most_gradients.at(name).view());
      for (int64_t i = 0; i < want.count(); ++i) {
        ASSERT_NEAR(gradients.at(name).view().as<float>()[i], want.as<float>()[i], 1e-4 * scale)
            << name << ", token " << begin << ", " << hint(c, random);
      }
    }
    dstate = std::move(gradients["state_in"]);
  }
  EXPECT_LE(relative_difference(dstate.view(), whole_gradients.at("state_in").view()), 1e-4)
      << hint(c, random);
}

/// state_out = decay · state_in + state, and its counterpart backwards.
TEST_P(SsdTargets, SummariesComposeToStates) {
  Random random;
  Context ctx(backend());
  for (const bool documents : {false, true}) {
    SsdCase c = SsdCase::fresh(random, Dtype::kF32, {2, 70, 3, 5, 6, 3}, {.documents = documents});
    for (int64_t i = 0; i < c["dt"].count(); ++i) c["dt"].as<float>()[i] -= 4;
    const Buffers forward = run_forward(ctx, c), backward = run_backward(ctx, c);
    const auto compose = [&](const Buffers& map, View in, View out) {
      const int64_t size = 5 * 6;
      for (int64_t i = 0; i < out.count(); ++i) {
        const float composed = map.at("decay").view().as<float>()[i / size] * in.as<float>()[i] +
                               map.at("state").view().as<float>()[i];
        ASSERT_NEAR(composed, out.as<float>()[i], 1e-5 * largest(out)) << hint(c, random);
      }
    };
    compose(run_summary(ctx, c), c["state_in"], forward.at("state_out").view());
    compose(run_summary_backward(ctx, c), c["dstate_out"], backward.at("state_in").view());
  }
}

/// Nothing of one document reaches another, not by a bit: neither values nor gradients.
TEST_P(SsdTargets, DocumentsDoNotTouchEachOther) {
  Random random;
  Context ctx(backend());
  SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 100, 5, 9, 7});
  for (int64_t t = 0; t < 100; ++t) c.doc_start.view().as<uint8_t>()[t] = t == 20 || t == 50;
  const Buffers forward = run_forward(ctx, c), backward = run_backward(ctx, c);
  SsdCase other = c.as(Dtype::kF32);  // tokens 20 to 49 become others
  for (const char* name : {"x", "dt", "B", "C", "dy"}) {
    const View v = tokens_of(other[name], 20, 30);
    for (int64_t i = 0; i < v.count(); ++i) v.as<float>()[i] *= static_cast<float>(random.uniform(-3, 3));
  }
  const Buffers forward2 = run_forward(ctx, other), backward2 = run_backward(ctx, other);
  EXPECT_TRUE(same_bits(forward.at("state_out").view(), forward2.at("state_out").view())) << hint(c, random);
  EXPECT_TRUE(same_bits(backward.at("state_in").view(), backward2.at("state_in").view())) << hint(c, random);
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 20}, {50, 50}}) {
    EXPECT_TRUE(same_bits(tokens_of(forward.at("y").view(), begin, count),
                          tokens_of(forward2.at("y").view(), begin, count)))
        << hint(c, random);
    for (const char* name : {"x", "dt", "B", "C"}) {
      EXPECT_TRUE(same_bits(tokens_of(backward.at(name).view(), begin, count),
                            tokens_of(backward2.at(name).view(), begin, count)))
          << name << " from token " << begin << ", " << hint(c, random);
    }
  }
}

TEST(SsdCpu, ThreadsChangeNoBit) {
  Random random;
  for (const SsdSizes& size : {SsdSizes{2, 600, 10, 33, 20, 2}, SsdSizes{2, 1, 40, 64, 32}}) {
    const SsdCase c = SsdCase::fresh(random, Dtype::kF32, size);
    Context one(Backend::kCpu, 1);
    const Buffers forward = run_forward(one, c), backward = run_backward(one, c);
    for (const int threads : {2, 3}) {
      Context ctx(Backend::kCpu, threads);
      expect_same_bits(Views(run_forward(ctx, c)), Views(forward), hint(c, random));
      expect_same_bits(Views(run_backward(ctx, c)), Views(backward), hint(c, random));
    }
  }
}

/// All of them are columns of one wider matrix in a layer.
TEST(SsdCpu, RowsMayBeStrided) {
  Random random;
  Context ctx(Backend::kCpu);
  for (const int64_t tokens : {1, 70}) {
    const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {2, tokens, 6, 13, 5, 2});
    Buffers out = c.outputs(), gradients = c.gradients();
    std::map<std::string, StridedCopy> wide_in, wide_out;
    Views in(c.in), to(out), dto(gradients);
    for (const char* name : {"x", "dt", "B", "C", "dy"})
      in.put(name, wide_in.emplace(name, StridedCopy(c[name])).first->second.view());
    to.put("y", wide_out.emplace("y", StridedCopy(c["x"])).first->second.view());
    for (const char* name : {"x", "dt", "B", "C"})
      dto.put(name, wide_out.emplace(name, StridedCopy(c[name])).first->second.view());
    ssd_forward(ctx, ssd_forward_args(c, in, to));
    ssd_backward_alone(ctx, ssd_backward_args(c, in, dto));
    expect_same_bits(to, Views(run_forward(ctx, c)), hint(c, random));
    expect_same_bits(dto, Views(run_backward(ctx, c)), hint(c, random));
    for (const auto& [name, copy] : wide_out) EXPECT_TRUE(copy.padding_untouched()) << name;
  }
}

TEST(SsdCpu, StatesMayBeReplacedInPlace) {
  Random random;
  Context ctx(Backend::kCpu);
  for (const int64_t tokens : {1, 9}) {
    const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {2, tokens, 3, 17, 5});
    Buffers out = c.outputs(), gradients = c.gradients();
    const Buffer state = copy_of(c["state_in"]), dstate = copy_of(c["dstate_out"]);
    Views in(c.in), to(out), dto(gradients);
    in.put("state_in", state.view());
    to.put("state_out", state.view());
    ssd_forward(ctx, ssd_forward_args(c, in, to));
    in = Views(c.in);
    in.put("dstate_out", dstate.view());
    dto.put("state_in", dstate.view());
    ssd_backward_alone(ctx, ssd_backward_args(c, in, dto));
    expect_same_bits(to, Views(run_forward(ctx, c)), hint(c, random));
    expect_same_bits(dto, Views(run_backward(ctx, c)), hint(c, random));
  }
}

TEST(SsdCpu, BackwardNeedsWhatForwardLeft) {
  Random random;
  Context ctx(Backend::kCpu);
  const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {1, 9, 2, 5, 3});
  Buffers gradients = c.gradients();
  EXPECT_THROW(ssd_backward(ctx, ssd_backward_args(c, Views(c.in), Views(gradients))), ContractError);
}

TEST(SsdCpu, ParameterGradientsAreAddedTo) {
  Random random;
  Context ctx(Backend::kCpu);
  const SsdCase c = SsdCase::fresh(random, Dtype::kF32, {2, 9, 2, 5, 3});
  const Buffers from_zero = run_backward(ctx, c), from_hundred = run_backward(ctx, c, 100);
  for (const char* name : {"A_log", "D", "dt_bias"}) {
    const View zero = from_zero.at(name).view(), hundred = from_hundred.at(name).view();
    for (int64_t i = 0; i < zero.count(); ++i)
      EXPECT_EQ(hundred.as<float>()[i], 100.0f + zero.as<float>()[i]) << name << ", " << hint(c, random);
  }
}

TEST(SsdCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const SsdCase c = SsdCase::fresh(random, Dtype::kF64, {1, 2, 3, 4, 5});
  EXPECT_THROW(run_forward(ctx, c), ContractError);
}

}  // namespace
}  // namespace natrix::test
