// The CPU scan against the reference, on every instruction set of this machine; and what it promises beyond
// that: the same bits whatever the threads, the tiles and the segments are.
#include <cmath>
#include <gtest/gtest.h>

#include "kernels/scan.h"
#include "tests/kernels/scan_case.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

/// Rounding errors add up along the sums that end in a result: over tokens and states for what belongs to one
/// channel, over tokens and channels for dB and dC, over tokens and sequences for dA_log and dD.
double tolerance(const std::string& name, const ScanSizes& s) {
  if (name == "B" || name == "C") return f32_tolerance(s.tokens * s.channels);
  if (name == "A_log" || name == "D") return f32_tolerance(s.tokens * s.batch * s.states);
  return f32_tolerance(s.tokens * s.states);
}

std::string hint(const ScanCase& c, const Random& random) {
  return c.size.to_string() + ", seed " + std::to_string(random.seed());
}

/// The same case with nothing to cancel.
ScanCase magnitudes(const ScanCase& c) {
  ScanCase m = c.as(Dtype::kF64);
  for (auto& [name, buffer] : m.in) {
    if (name != "A_log") buffer = absolute(buffer.view());
  }
  return m;
}

void expect_reference(Context& ctx, const ScanCase& c, const std::string& hint) {
  Context reference(Backend::kReference);
  const ScanCase exact = c.as(Dtype::kF64), large = magnitudes(c);
  const auto allowed = [&](const std::string& name) { return tolerance(name, c.size); };
  expect_close(run_forward(ctx, c), run_forward(reference, exact), run_forward(reference, large), allowed,
               hint);

  Buffers of_gradients = run_backward(reference, large);
  // ddt = Σ p A + Σ g B x, and A is negative: the two still cancel. The second is at most dx x / dt.
  const double *dx = of_gradients["x"].view().as<double>(), *x = large["x"].as<double>(),
               *dt = large["dt"].as<double>();
  double* ddt = of_gradients["dt"].view().as<double>();
  for (int64_t i = 0; i < large["x"].count(); ++i) ddt[i] = std::fabs(ddt[i]) + 2 * dx[i] * x[i] / dt[i];
  expect_close(run_backward(ctx, c), run_backward(reference, exact), of_gradients, allowed, hint);
}

/// A decay counts against 1, what it leaves of a state when nothing decays: e^−40 is as good as 0.
Buffers with_unit_decay(Buffers summary) {
  summary["decay"] = filled(Dtype::kF64, summary["decay"].view().shape, 1.0);
  return summary;
}

void expect_reference_summaries(Context& ctx, const ScanCase& c, const std::string& hint) {
  Context reference(Backend::kReference);
  const ScanCase exact = c.as(Dtype::kF64), large = magnitudes(c);
  const auto allowed = [&](const std::string& name) { return tolerance(name, c.size); };
  expect_close(run_summary(ctx, c), run_summary(reference, exact),
               with_unit_decay(run_summary(reference, large)), allowed, hint);
  expect_close(run_summary_backward(ctx, c), run_summary_backward(reference, exact),
               with_unit_decay(run_summary_backward(reference, large)), allowed, hint);
}

ScanSizes awkward_scan(Random& random) {
  const auto pick = [&](const std::vector<int64_t>& from) {
    return from[static_cast<size_t>(random.integer(0, static_cast<int64_t>(from.size()) - 1))];
  };
  return {random.integer(1, 3), pick({1, 2, 7, 31, 32, 33, 67, 130}),
          pick({1, 3, 8, 13, 17, 31, 33, 63, 64, 67, 130}), pick({1, 2, 3, 4, 5, 8, 13, 16, 17})};
}

/// [1, 1, …] of a view [1, T, …].
View token_of(View v, int64_t t) {
  const Shape one = v.shape.rank() == 3 ? Shape{1, 1, v.extent(2)} : Shape{1, 1};
  return View(static_cast<char*>(v.data) + t * v.bytes() / v.extent(1), v.dtype, one);
}

class ScanTargets : public OnEveryTarget {};
INSTANTIATE_TEST_SUITE_P(Targets, ScanTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(ScanTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend());
  for (int i = 0; i < 40; ++i) {
    const ScanExtras extras{.documents = random.integer(0, 1) == 1, .D = i % 5 != 0, .carries = i % 3 != 0};
    const ScanCase c = ScanCase::fresh(random, Dtype::kF32, awkward_scan(random), extras);
    expect_reference(ctx, c, hint(c, random));
  }
}

TEST_P(ScanTargets, SummariesAgreeWithTheReference) {
  Random random;
  Context ctx(backend());
  for (int i = 0; i < 20; ++i) {
    const ScanCase c = ScanCase::fresh(random, Dtype::kF32, awkward_scan(random), {.documents = i % 2 == 1});
    expect_reference_summaries(ctx, c, hint(c, random));
  }
}

/// Steps after which nothing is left of a state: in some tiles, in all of them, and only just.
TEST_P(ScanTargets, AgreesWhereDecaysUnderflow) {
  Random random;
  Context ctx(backend());
  for (const double longest : {20.0, 1e3, 1e30}) {
    ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, 100, 13, 5});
    float* dt = c["dt"].as<float>();
    for (int i = 0; i < 10; ++i)
      dt[random.integer(0, c["dt"].count() - 1)] =
          static_cast<float>(longest / static_cast<double>(random.integer(1, 4)));
    expect_reference(ctx, c, hint(c, random));
  }
}

/// With steps so short that a state outlives several stretches: what one hands to the next matters.
TEST_P(ScanTargets, AgreesBeyondOneStretch) {
  Random random;
  Context ctx(backend());
  ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, 2 * 2048 + 77, 5, 6}, {.documents = false});
  float* dt = c["dt"].as<float>();
  for (int64_t i = 0; i < c["dt"].count(); ++i) dt[i] *= 1e-3f;
  expect_reference(ctx, c, hint(c, random));
}

/// A sum over time is taken tile by tile: term by term, one of equal signs loses what it has grown by.
TEST(ScanCpu, LongSumsOverTimeLoseLittle) {
  Random random;
  Context cpu(Backend::kCpu), reference(Backend::kReference);
  ScanCase c =
      ScanCase::fresh(random, Dtype::kF32, {1, 1 << 17, 3, 2}, {.documents = false, .carries = false});
  for (const char* name : {"x", "dy", "B", "C"}) {
    const View v = c[name];
    for (int64_t i = 0; i < v.count(); ++i) v.as<float>()[i] = std::fabs(v.as<float>()[i]);
  }
  const Buffers got = run_backward(cpu, c), want = run_backward(reference, c.as(Dtype::kF64));
  for (const char* name : {"A_log", "D"}) {
    EXPECT_LE(relative_difference(got.at(name).view(), want.at(name).view()), 4e-6)
        << name << ", " << hint(c, random);
  }
}

/// A GPU splits a sequence in time only where its channels are too few to fill it.
TEST_P(ScanTargets, AgreesWithManyChannels) {
  Random random;
  Context ctx(backend());
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, 140, 300, 40});
  expect_reference(ctx, c, hint(c, random));
}

/// Decoding takes another path than a prefill does.
TEST_P(ScanTargets, TokenByTokenGivesTheBitsOfTheSegment) {
  Random random;
  Context ctx(backend());
  for (const int64_t states : {1, 5, 8, 16, 32}) {
    for (const bool D : {true, false}) {
      const ScanCase c =
          ScanCase::fresh(random, Dtype::kF32, {1, 19, random.integer(1, 150), states}, {.D = D});
      const Buffers whole = run_forward(ctx, c);
      const Buffers stepped = c.outputs();
      const Views to(stepped);
      Views in(c.in);
      for (int64_t t = 0; t < c.size.tokens; ++t) {
        for (const char* name : {"x", "dt", "B", "C"}) in.put(name, token_of(c[name], t));
        Views out(stepped);
        out.put("y", token_of(to["y"], t));
        scan_forward(ctx, scan_forward_args(in, token_of(c.doc_start.view(), t), out));
        in.put("state_in", to["state_out"]);
      }
      expect_same_bits(to, Views(whole), hint(c, random));
    }
  }
}

TEST(ScanCpu, ThreadsChangeNoBit) {
  Random random;
  for (const ScanSizes& shape : {ScanSizes{3, 150, 200, 6}, ScanSizes{2, 1, 600, 16}}) {
    const ScanCase c = ScanCase::fresh(random, Dtype::kF32, shape);
    Context one(Backend::kCpu, 1);
    const Buffers forward = run_forward(one, c), backward = run_backward(one, c);
    for (const int threads : {1, 2, 3}) {
      Context ctx(Backend::kCpu, threads);
      expect_same_bits(Views(run_forward(ctx, c)), Views(forward), hint(c, random));
      expect_same_bits(Views(run_backward(ctx, c)), Views(backward), hint(c, random));
    }
  }
}

/// x and z, or B and C, are often columns of one wider matrix.
TEST(ScanCpu, RowsMayBeStrided) {
  Random random;
  Context ctx(Backend::kCpu);
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, 70, 67, 5});
  Buffers out = c.outputs(), gradients = c.gradients();

  std::map<std::string, StridedCopy> wide_in, wide_out;
  Views in(c.in), to(out), dto(gradients);
  for (const char* name : {"x", "dt", "B", "C", "dy"}) {
    in.put(name, wide_in.emplace(name, StridedCopy(c[name])).first->second.view());
  }
  to.put("y", wide_out.emplace("y", StridedCopy(c["x"])).first->second.view());
  for (const char* name : {"x", "dt", "B", "C"}) {
    dto.put(name, wide_out.emplace(name, StridedCopy(c[name])).first->second.view());
  }
  scan_forward(ctx, scan_forward_args(in, c.doc_start.view(), to));
  scan_backward_alone(ctx, scan_backward_args(in, c.doc_start.view(), dto));

  expect_same_bits(to, Views(run_forward(ctx, c)), hint(c, random));
  expect_same_bits(dto, Views(run_backward(ctx, c)), hint(c, random));
  for (const auto& [name, copy] : wide_out) EXPECT_TRUE(copy.padding_untouched()) << name;
}

TEST(ScanCpu, StatesMayBeReplacedInPlace) {
  Random random;
  Context ctx(Backend::kCpu);
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, 9, 67, 5});
  const Buffers forward = run_forward(ctx, c), backward = run_backward(ctx, c);

  Buffers out = c.outputs(), gradients = c.gradients();
  const Buffer state = copy_of(c["state_in"]), dstate = copy_of(c["dstate_out"]);
  Views in(c.in), to(out), dto(gradients);
  in.put("state_in", state.view());
  to.put("state_out", state.view());
  scan_forward(ctx, scan_forward_args(in, c.doc_start.view(), to));
  in = Views(c.in);
  in.put("dstate_out", dstate.view());
  dto.put("state_in", dstate.view());
  scan_backward_alone(ctx, scan_backward_args(in, c.doc_start.view(), dto));
  expect_same_bits(to, Views(forward), hint(c, random));
  expect_same_bits(dto, Views(backward), hint(c, random));
}

TEST(ScanCpu, BackwardNeedsWhatForwardLeft) {
  Random random;
  Context ctx(Backend::kCpu);
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {1, 9, 5, 3});
  Buffers gradients = c.gradients();
  EXPECT_THROW(scan_backward(ctx, scan_backward_args(Views(c.in), c.doc_start.view(), Views(gradients))),
               ContractError);
}

TEST(ScanCpu, ParameterGradientsAreAddedTo) {
  Random random;
  Context ctx(Backend::kCpu);
  const ScanCase c = ScanCase::fresh(random, Dtype::kF32, {2, 9, 5, 3});
  const Buffers from_zero = run_backward(ctx, c), from_hundred = run_backward(ctx, c, 100);
  for (const char* name : {"A_log", "D"}) {
    const View zero = from_zero.at(name).view(), hundred = from_hundred.at(name).view();
    for (int64_t i = 0; i < zero.count(); ++i) {
      EXPECT_EQ(hundred.as<float>()[i], 100.0f + zero.as<float>()[i]) << name << ", " << hint(c, random);
    }
  }
}

TEST(ScanCpu, RefusesDouble) {
  Random random;
  Context ctx(Backend::kCpu);
  const ScanCase c = ScanCase::fresh(random, Dtype::kF64, {1, 2, 3, 4});
  EXPECT_THROW(run_forward(ctx, c), ContractError);
}

}  // namespace
}  // namespace natrix::test
