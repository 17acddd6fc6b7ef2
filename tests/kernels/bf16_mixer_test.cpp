// The mixer's kernels with activations in bf16 (backend cuda only), against the reference in double on the
// same operands: one rounding of what is stored, besides the sums' own (bf16_tolerance).
#include <cmath>
#include <gtest/gtest.h>

#include "tests/kernels/conv_case.h"
#include "tests/kernels/scan_case.h"

namespace natrix::test {
namespace {

class Bf16CudaMixer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!has_cuda()) GTEST_SKIP() << "no device";
    cuda = std::make_unique<Context>(Backend::kCuda);
  }
  int64_t pick(const std::vector<int64_t>& from) {
    return from[static_cast<size_t>(random.integer(0, static_cast<int64_t>(from.size()) - 1))];
  }
  template <class Case>
  std::string hint(const Case& c) const {
    return c.size.to_string() + ", seed " + std::to_string(random.seed());
  }

  Random random;
  std::unique_ptr<Context> cuda;
  Context reference{Backend::kReference};
};

/// Nothing to cancel.
template <class Case>
Case all_positive(const Case& c) {
  Case m = c.as(Dtype::kF64);
  for (auto& [name, buffer] : m.in) {
    if (name != "A_log") buffer = absolute(buffer.view());
  }
  return m;
}

/// Of which terms a result is the sum (scan_cpu_test.cpp). x's gradient and y pass through storage once for
/// each 16 and 32 states, in which a block takes them.
double scan_bound(const std::string& name, const Buffers& got, const ScanSizes& s) {
  const Dtype stored = got.at(name).view().dtype;
  if (name == "B" || name == "C") return bf16_tolerance(stored, s.tokens * s.channels);
  if (name == "A_log" || name == "D") return bf16_tolerance(stored, s.tokens * s.batch * s.states);
  return bf16_tolerance(stored, s.tokens * s.states) * static_cast<double>((s.states + 15) / 16);
}

TEST_F(Bf16CudaMixer, ScanAgreesWithTheReference) {
  for (int i = 0; i < 25; ++i) {
    const ScanSizes size{random.integer(1, 3), pick({1, 2, 7, 31, 33, 67, 130, 260}),
                         pick({1, 3, 8, 13, 31, 33, 64, 130}), pick({1, 3, 4, 5, 8, 13, 16, 17, 40})};
    const ScanExtras extras{.documents = i % 2 == 0, .D = i % 5 != 0, .carries = i % 3 != 0};
    const ScanCase c = ScanCase::fresh(random, Dtype::kF32, size, extras).narrowed();
    const ScanCase exact = c.as(Dtype::kF64), large = all_positive(c);
    const Buffers out = run_forward(*cuda, c);
    ASSERT_EQ(out.at("y").view().dtype, Dtype::kBF16);
    expect_close(
        out, run_forward(reference, exact), run_forward(reference, large),
        [&](const std::string& n) { return scan_bound(n, out, size); }, hint(c));

    Buffers of_gradients = run_backward(reference, large);
    // ddt = Σ p A + Σ g B x, and A is negative: the two still cancel. The second is at most dx x / dt.
    const double *dx = of_gradients["x"].view().as<double>(), *x = large["x"].as<double>(),
                 *dt = large["dt"].as<double>();
    double* ddt = of_gradients["dt"].view().as<double>();
    for (int64_t k = 0; k < large["x"].count(); ++k) ddt[k] = std::fabs(ddt[k]) + 2 * dx[k] * x[k] / dt[k];
    const Buffers gradients = run_backward(*cuda, c);
    expect_close(
        gradients, run_backward(reference, exact), of_gradients,
        [&](const std::string& n) { return scan_bound(n, gradients, size); }, hint(c));
  }
}

TEST_F(Bf16CudaMixer, ScanSummariesAgreeWithTheReference) {
  for (int i = 0; i < 10; ++i) {
    const ScanSizes size{random.integer(1, 2), pick({1, 31, 130, 260}), pick({1, 33, 130}),
                         pick({1, 5, 16, 17})};
    const ScanCase c = ScanCase::fresh(random, Dtype::kF32, size, {.documents = i % 2 == 1}).narrowed();
    for (const auto run : {run_summary, run_summary_backward}) {
      Buffers large = run(reference, all_positive(c));
      large["decay"] = filled(Dtype::kF64, large["decay"].view().shape, 1.0);  // what e^0 leaves of a state
      expect_close(
          run(*cuda, c), run(reference, c.as(Dtype::kF64)), large,
          [&](const std::string&) { return f32_tolerance(size.tokens * size.states); }, hint(c));
    }
  }
}

TEST_F(Bf16CudaMixer, ConvolutionAgreesWithTheReference) {
  for (int i = 0; i < 25; ++i) {
    const ConvSizes size{random.integer(1, 3), pick(awkward_sizes()), pick(awkward_sizes()),
                         random.integer(1, 8)};
    const ConvExtras extras{.documents = i % 2 == 0, .bias = i % 5 != 0, .carries = i % 3 != 0};
    const ConvCase c = ConvCase::fresh(random, Dtype::kF32, size, extras).narrowed();
    const ConvCase exact = c.as(Dtype::kF64), large = all_positive(c);
    for (const bool forward : {true, false}) {
      const auto run = [&](Context& ctx, const ConvCase& which) {
        return forward ? run_forward(ctx, which) : run_backward(ctx, which);
      };
      const Buffers got = run(*cuda, c);
      expect_close(
          got, run(reference, exact), run(reference, large),
          [&](const std::string& name) {
            const bool parameter = name == "weight" || name == "bias";
            return bf16_tolerance(got.at(name).view().dtype,
                                  parameter ? size.tokens * size.batch : size.taps);
          },
          hint(c));
    }
  }
}

}  // namespace
}  // namespace natrix::test
