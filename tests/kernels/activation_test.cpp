// Element-wise functions: the reference against finite differences and known values, the CPU's against the
// reference on every instruction set of this machine, and both under aliasing, strides and threads.
#include "kernels/activation.h"

#include <cmath>
#include <gtest/gtest.h>

#include "tests/kernels/operands.h"
#include "tests/kernels/targets.h"

namespace natrix::test {
namespace {

constexpr Activation kAll[] = {Activation::kSilu, Activation::kGelu, Activation::kRelu2};

/// A few roundings.
const double kTolerance = f32_tolerance(1);

struct ActivationCase {
  Activation f;
  bool gated;
  Buffers in;  // x, up, dout

  static ActivationCase fresh(Random& random, Dtype dtype, Activation f, bool gated, Shape shape) {
    ActivationCase c{f, gated, {}};
    for (const char* name : {"x", "up", "dout"}) c.in[name] = random.normal(dtype, shape, 3.0);
    return c;
  }
  ActivationCase as(Dtype dtype) const { return {f, gated, test::as(dtype, in)}; }
  View operator[](const std::string& name) const { return in.at(name).view(); }
  Buffer output() const { return poisoned((*this)["x"].dtype, (*this)["x"].shape); }
};

Buffers run(Context& ctx, const ActivationCase& c) {
  Buffers out;
  out["out"] = c.output();
  out["dx"] = c.output();
  if (c.gated) out["dup"] = c.output();
  const View up = c.gated ? c["up"] : View{};
  activation_forward(ctx, {.f = c.f, .x = c["x"], .up = up, .out = out["out"].view()});
  activation_backward(ctx, {.f = c.f,
                            .x = c["x"],
                            .up = up,
                            .dout = c["dout"],
                            .dx = out["dx"].view(),
                            .dup = c.gated ? out["dup"].view() : View{}});
  return out;
}

/// Of results with nothing cancelling, as a slope does near a function's minimum: |f(x)| ≤ |x| and |f'|
/// < 1.2, but for ReLU², which is x² and 2 |x|.
Buffers magnitudes(const ActivationCase& c) {
  Buffers out;
  for (const char* name : {"out", "dx", "dup"}) out[name] = Buffer(Dtype::kF64, c["x"].shape);
  const bool square = c.f == Activation::kRelu2;
  for (int64_t i = 0; i < c["x"].count(); ++i) {
    const auto at = [&](const char* name) { return std::fabs(static_cast<double>(c[name].as<float>()[i])); };
    const double up = c.gated ? at("up") : 1.0, value = square ? at("x") * at("x") : at("x");
    out["out"].view().as<double>()[i] = value * up;
    out["dx"].view().as<double>()[i] = at("dout") * up * (square ? 2 * at("x") : 1.0);
    out["dup"].view().as<double>()[i] = at("dout") * value;
  }
  return out;
}

std::string hint(const ActivationCase& c, const Random& random) {
  return "function " + std::to_string(static_cast<int>(c.f)) + (c.gated ? " gated, " : ", ") +
         c["x"].shape.to_string() + ", seed " + std::to_string(random.seed());
}

TEST(ActivationReference, KnownValues) {
  Context ctx(Backend::kReference);
  double x[] = {-2, 0, 1, -800, 800}, y[5];
  const View vx(x, Dtype::kF64, {1, 5}), vy(y, Dtype::kF64, {1, 5});
  activation_forward(ctx, {.f = Activation::kSilu, .x = vx, .out = vy});
  EXPECT_DOUBLE_EQ(y[0], -2 / (1 + std::exp(2.0)));
  EXPECT_EQ(y[1], 0);
  EXPECT_EQ(y[3], 0);
  EXPECT_EQ(y[4], 800);
  activation_forward(ctx, {.f = Activation::kGelu, .x = vx, .out = vy});
  EXPECT_NEAR(y[0], -0.04550026389635842, 1e-15);  // −2 Φ(−2), from tables
  EXPECT_NEAR(y[2], 0.8413447460685429, 1e-15);    // Φ(1)
  EXPECT_EQ(y[4], 800);
  activation_forward(ctx, {.f = Activation::kRelu2, .x = vx, .out = vy});
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[2], 1);
  EXPECT_EQ(y[4], 640000);
  softplus_forward(ctx, {.x = vx, .y = vy});
  EXPECT_DOUBLE_EQ(y[1], std::log(2.0));
  EXPECT_EQ(y[3], 0);
  EXPECT_EQ(y[4], 800);
}

TEST(ActivationReference, GradientsAreFiniteDifferences) {
  Random random;
  Context ctx(Backend::kReference);
  for (const Activation f : kAll) {
    for (const bool gated : {false, true}) {
      ActivationCase c = ActivationCase::fresh(random, Dtype::kF64, f, gated, {3, 9});
      const auto loss = [&] { return dot(run(ctx, c).at("out").view(), c["dout"]); };
      const Buffers gradient = run(ctx, c);
      EXPECT_LE(finite_difference_error(c["x"], gradient.at("dx").view(), loss), 1e-6) << hint(c, random);
      if (gated) {
        EXPECT_LE(finite_difference_error(c["up"], gradient.at("dup").view(), loss), 1e-6) << hint(c, random);
      }
    }
  }
}

TEST(ActivationReference, SoftplusGradientIsAFiniteDifference) {
  Random random;
  Context ctx(Backend::kReference);
  Buffer x = random.normal(Dtype::kF64, {5, 7}, 5.0), bias = random.normal(Dtype::kF64, {7}),
         dy = random.normal(Dtype::kF64, {5, 7});
  Buffer y(Dtype::kF64, {5, 7}), dx = poisoned(Dtype::kF64, {5, 7});
  const auto loss = [&] {
    softplus_forward(ctx, {.x = x.view(), .bias = bias.view(), .y = y.view()});
    return dot(y.view(), dy.view());
  };
  loss();
  softplus_backward(ctx, {.y = y.view(), .dy = dy.view(), .dx = dx.view()});
  EXPECT_LE(finite_difference_error(x.view(), dx.view(), loss), 1e-6) << random.seed();
}

using ActivationTargets = OnEveryTarget;
INSTANTIATE_TEST_SUITE_P(Targets, ActivationTargets, ::testing::ValuesIn(every_target()), target_name);

TEST_P(ActivationTargets, AgreesWithTheReference) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  for (const Activation f : kAll) {
    for (const bool gated : {false, true}) {
      for (const int64_t cols : awkward_sizes()) {
        for (const int64_t rows : {0, 1, 5}) {
          const auto c = ActivationCase::fresh(random, Dtype::kF32, f, gated, {rows, cols});
          expect_close(
              run(ctx, c), run(reference, c.as(Dtype::kF64)), magnitudes(c),
              [](const std::string&) { return kTolerance; }, hint(c, random));
        }
      }
    }
  }
}

/// The gradient keeps its relative precision where steps are tiny, which is where dt lives.
TEST_P(ActivationTargets, SoftplusAgreesElementByElement) {
  Random random;
  Context ctx(backend()), reference(Backend::kReference);
  for (const int64_t cols : {1, 7, 67, 400}) {
    const Buffer x = random.uniform(Dtype::kF32, {4, cols}, -30, 30),
                 bias = random.normal(Dtype::kF32, {cols});
    const Buffer dy = filled(Dtype::kF32, {4, cols}, 1.0);
    Buffer y = poisoned(Dtype::kF32, {4, cols}), dx = poisoned(Dtype::kF32, {4, cols});
    Buffer want = poisoned(Dtype::kF64, {4, cols}), dwant = poisoned(Dtype::kF64, {4, cols});
    softplus_forward(ctx, {.x = x.view(), .bias = bias.view(), .y = y.view()});
    softplus_backward(ctx, {.y = y.view(), .dy = dy.view(), .dx = dx.view()});
    softplus_forward(reference, {.x = as(Dtype::kF64, x.view()).view(),
                                 .bias = as(Dtype::kF64, bias.view()).view(),
                                 .y = want.view()});
    softplus_backward(
        reference,
        {.y = as(Dtype::kF64, y.view()).view(), .dy = as(Dtype::kF64, dy.view()).view(), .dx = dwant.view()});
    for (int64_t i = 0; i < 4 * cols; ++i) {
      const double y_i = want.view().as<double>()[i], dx_i = dwant.view().as<double>()[i];
      // x + bias rounds to half an ulp of up to 32, and softplus turns an error e in x into a relative error
      // of at most e.
      EXPECT_NEAR(y.view().as<float>()[i], y_i, (4e-6 + kTolerance) * y_i) << random.seed();
      EXPECT_NEAR(dx.view().as<float>()[i], dx_i, kTolerance * dx_i)
          << "y " << y_i << ", seed " << random.seed();
    }
  }
}

class Activations : public ::testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Backends, Activations, ::testing::ValuesIn(backends()),
                         [](const auto& backend) { return name_of(backend.param); });

TEST_P(Activations, OutputsMayBeInputs) {
  Random random;
  Context ctx(GetParam());
  for (const Activation f : kAll) {
    const auto c = ActivationCase::fresh(random, Dtype::kF32, f, true, {3, 37});
    const Buffers want = run(ctx, c);
    for (const char* into : {"x", "up"}) {
      Buffer x = copy_of(c["x"]), up = copy_of(c["up"]);
      const View out = std::string(into) == "x" ? x.view() : up.view();
      activation_forward(ctx, {.f = f, .x = x.view(), .up = up.view(), .out = out});
      EXPECT_TRUE(same_bits(out, want.at("out").view())) << into << ", " << hint(c, random);
    }
    for (const char* into : {"x", "dout"}) {
      Buffer x = copy_of(c["x"]), up = copy_of(c["up"]), dout = copy_of(c["dout"]);
      const View dx = std::string(into) == "x" ? x.view() : dout.view();
      activation_backward(
          ctx, {.f = f, .x = x.view(), .up = up.view(), .dout = dout.view(), .dx = dx, .dup = up.view()});
      EXPECT_TRUE(same_bits(dx, want.at("dx").view())) << into << ", " << hint(c, random);
      EXPECT_TRUE(same_bits(up.view(), want.at("dup").view())) << into << ", " << hint(c, random);
    }
  }
}

TEST_P(Activations, SoftplusWorksInPlace) {
  Random random;
  Context ctx(GetParam());
  Buffer x = random.normal(Dtype::kF32, {3, 37}), y = poisoned(Dtype::kF32, {3, 37}),
         dy = random.normal(Dtype::kF32, {3, 37});
  Buffer dx = poisoned(Dtype::kF32, {3, 37});
  softplus_forward(ctx, {.x = x.view(), .y = y.view()});
  softplus_forward(ctx, {.x = x.view(), .y = x.view()});
  EXPECT_TRUE(same_bits(x.view(), y.view())) << random.seed();
  softplus_backward(ctx, {.y = y.view(), .dy = dy.view(), .dx = dx.view()});
  softplus_backward(ctx, {.y = y.view(), .dy = dy.view(), .dx = dy.view()});
  EXPECT_TRUE(same_bits(dy.view(), dx.view())) << random.seed();
}

/// A gate's halves are columns of one buffer.
TEST_P(Activations, RowsMayBeStrided) {
  Random random;
  Context ctx(GetParam());
  const auto c = ActivationCase::fresh(random, Dtype::kF32, Activation::kSilu, true, {6, 21});
  const Buffers want = run(ctx, c);
  const StridedCopy x(c["x"]), up(c["up"]), dout(c["dout"]), out(c["x"]), dx(c["x"]), dup(c["x"]);
  activation_forward(ctx, {.x = x.view(), .up = up.view(), .out = out.view()});
  activation_backward(
      ctx, {.x = x.view(), .up = up.view(), .dout = dout.view(), .dx = dx.view(), .dup = dup.view()});
  EXPECT_TRUE(same_bits(out.view(), want.at("out").view()));
  EXPECT_TRUE(same_bits(dx.view(), want.at("dx").view()));
  EXPECT_TRUE(same_bits(dup.view(), want.at("dup").view()));
  EXPECT_TRUE(out.padding_untouched() && dx.padding_untouched() && dup.padding_untouched());

  Buffer y = poisoned(Dtype::kF32, {6, 21}), dy = poisoned(Dtype::kF32, {6, 21});
  softplus_forward(ctx, {.x = c["x"], .y = y.view()});
  softplus_forward(ctx, {.x = x.view(), .y = out.view()});
  EXPECT_TRUE(same_bits(out.view(), y.view()));
  softplus_backward(ctx, {.y = y.view(), .dy = c["dout"], .dx = dy.view()});
  softplus_backward(ctx, {.y = out.view(), .dy = dout.view(), .dx = dx.view()});
  EXPECT_TRUE(same_bits(dx.view(), dy.view()));
  EXPECT_TRUE(out.padding_untouched() && dx.padding_untouched());
}

TEST_P(Activations, AccumulateAdds) {
  Random random;
  Context ctx(GetParam());
  const Buffer x = random.normal(Dtype::kF32, {5, 19}), before = random.normal(Dtype::kF32, {5, 19});
  const StridedCopy from(x.view()), to(before.view());
  accumulate(ctx, {.x = from.view(), .y = to.view()});
  for (int64_t r = 0; r < 5; ++r) {
    for (int64_t c = 0; c < 19; ++c) {
      EXPECT_EQ(to.view().row<float>(r)[c], before.view().row<float>(r)[c] + x.view().row<float>(r)[c]);
    }
  }
  EXPECT_TRUE(to.padding_untouched());
}

TEST_P(Activations, RefuseWhatBreaksTheirContract) {
  Context ctx(GetParam());
  Buffer x(Dtype::kF32, {3, 4}), other(Dtype::kF32, {3, 5}), bias(Dtype::kF32, {3});
  EXPECT_THROW(activation_forward(ctx, {.x = x.view(), .out = other.view()}), ContractError);
  EXPECT_THROW(activation_backward(ctx, {.x = x.view(), .up = x.view(), .dout = x.view(), .dx = x.view()}),
               ContractError);
  EXPECT_THROW(softplus_forward(ctx, {.x = x.view(), .bias = bias.view(), .y = x.view()}), ContractError);
  EXPECT_THROW(softplus_backward(ctx, {.y = x.view(), .dy = other.view(), .dx = x.view()}), ContractError);
  EXPECT_THROW(accumulate(ctx, {.x = x.view(), .y = other.view()}), ContractError);
}

TEST(ActivationCpu, ThreadsChangeNoBit) {
  Random random;
  for (const Activation f : kAll) {
    const auto c = ActivationCase::fresh(random, Dtype::kF32, f, true, {300, 171});
    Context one(Backend::kCpu, 1);
    const Buffers want = run(one, c);
    for (const int threads : {2, 3}) {
      Context ctx(Backend::kCpu, threads);
      expect_same_bits(Views(run(ctx, c)), Views(want), hint(c, random));
    }
  }
}

TEST(ActivationCpu, ThreadsChangeNoBitOfSoftplusAndSums) {
  Random random;
  const Shape shape{300, 171};
  const Buffer x = random.normal(Dtype::kF32, shape), dy = random.normal(Dtype::kF32, shape);
  const auto all = [&](int threads) {
    Context ctx(Backend::kCpu, threads);
    Buffers out;
    out["y"] = poisoned(Dtype::kF32, shape);
    out["dx"] = poisoned(Dtype::kF32, shape);
    out["sum"] = copy_of(dy.view());
    softplus_forward(ctx, {.x = x.view(), .y = out["y"].view()});
    softplus_backward(ctx, {.y = out["y"].view(), .dy = dy.view(), .dx = out["dx"].view()});
    accumulate(ctx, {.x = x.view(), .y = out["sum"].view()});
    return out;
  };
  const Buffers want = all(1);
  for (const int threads : {2, 3}) {
    expect_same_bits(Views(all(threads)), Views(want), "seed " + std::to_string(random.seed()));
  }
}

/// A number that is none stays visible: training stops on it.
TEST(ActivationCpu, NansComeThrough) {
  Context ctx(Backend::kCpu);
  const Buffer x = poisoned(Dtype::kF32, {1, 19}), ones = filled(Dtype::kF32, {1, 19}, 1.0);
  for (const Activation f : kAll) {
    Buffer out(Dtype::kF32, {1, 19}), dx(Dtype::kF32, {1, 19});
    activation_forward(ctx, {.f = f, .x = x.view(), .out = out.view()});
    activation_backward(ctx, {.f = f, .x = x.view(), .dout = ones.view(), .dx = dx.view()});
    for (int64_t i = 0; i < 19; ++i) {
      EXPECT_TRUE(std::isnan(out.view().as<float>()[i])) << static_cast<int>(f);
      EXPECT_TRUE(std::isnan(dx.view().as<float>()[i])) << static_cast<int>(f);
    }
  }
}

TEST(ActivationCpu, RefusesDouble) {
  Context ctx(Backend::kCpu);
  Buffer x(Dtype::kF64, {3, 4});
  EXPECT_THROW(activation_forward(ctx, {.x = x.view(), .out = x.view()}), ContractError);
  EXPECT_THROW(activation_backward(ctx, {.x = x.view(), .dout = x.view(), .dx = x.view()}), ContractError);
  EXPECT_THROW(softplus_forward(ctx, {.x = x.view(), .y = x.view()}), ContractError);
  EXPECT_THROW(softplus_backward(ctx, {.y = x.view(), .dy = x.view(), .dx = x.view()}), ContractError);
  EXPECT_THROW(accumulate(ctx, {.x = x.view(), .y = x.view()}), ContractError);
}

}  // namespace
}  // namespace natrix::test
