#include "tests/kernels/cases.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <limits>

#include "kernels/base/build.h"
#include "kernels/base/transfer.h"

namespace natrix::test {
namespace {

double element(View v, int64_t r, int64_t c) {
  switch (v.dtype) {
    case Dtype::kF32: return static_cast<double>(v.row<float>(r)[c]);
    case Dtype::kF64: return v.row<double>(r)[c];
    case Dtype::kBF16: return static_cast<double>(v.row<BFloat16>(r)[c]);
    case Dtype::kI32: return static_cast<double>(v.row<int32_t>(r)[c]);
    case Dtype::kI64: return static_cast<double>(v.row<int64_t>(r)[c]);
    case Dtype::kU8: return static_cast<double>(v.row<uint8_t>(r)[c]);
    default: contract_broken("a dtype that tests do not read", std::source_location::current());
  }
}

Buffer drawn(Dtype dtype, Shape shape, const std::function<double()>& value) {
  Buffer b(dtype, shape);
  for_stored(dtype, [&](auto zero) {
    auto* p = b.view().as<decltype(zero)>();
    for (int64_t i = 0; i < shape.count(); ++i) p[i] = static_cast<decltype(zero)>(value());
  });
  return b;
}

uint64_t fresh_seed() {
  const char* given = std::getenv("NATRIX_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

}  // namespace

Random::Random() : seed_(fresh_seed()), engine_(seed_) {
  ::testing::Test::RecordProperty("seed", std::to_string(seed_));
}

Buffer Random::normal(Dtype dtype, Shape shape, double scale) {
  return drawn(dtype, shape, [&] { return scale * normal(); });
}

Buffer Random::uniform(Dtype dtype, Shape shape, double low, double high) {
  return drawn(dtype, shape, [&] { return uniform(low, high); });
}

Buffer Random::document_starts(int64_t batch, int64_t tokens, double probability) {
  Buffer b(Dtype::kU8, {batch, tokens});
  for (int64_t i = 0; i < batch * tokens; ++i) b.view().as<uint8_t>()[i] = uniform(0, 1) < probability;
  return b;
}

bool has_cuda() {
  if (!build::kCuda) return false;
  try {
    const Context ctx(Backend::kCuda);
    return true;
  } catch (const InputError& e) {
    std::fprintf(stderr, "backend cuda is built, but not tested: %s\n", e.what());
    return false;
  }
}

std::vector<Backend> backends() {
  std::vector<Backend> all = {Backend::kReference, Backend::kCpu};
  if (has_cuda()) all.push_back(Backend::kCuda);
  return all;
}

Buffer as(Dtype dtype, View v) {
  Buffer b(dtype, v.shape);
  convert(v, b.view());
  return b;
}

Buffer floats(Shape shape, const std::vector<float>& values) {
  Buffer b(Dtype::kF32, shape);
  EXPECT_EQ(shape.count(), static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), b.view().as<float>());
  return b;
}

std::vector<float> floats_of(View v) {
  return {v.as<float>(), v.as<float>() + v.count()};
}

Buffer poisoned(Dtype dtype, Shape shape) {
  return drawn(dtype, shape, [] { return std::numeric_limits<double>::quiet_NaN(); });
}

double relative_difference(View got_anywhere, View want_anywhere) {
  const OnHost got_here(got_anywhere), want_here(want_anywhere);
  const View got = got_here.view(), want = want_here.view();
  EXPECT_EQ(got.shape.to_string(), want.shape.to_string());
  double worst = 0, scale = 0;
  for (int64_t r = 0; r < want.rows(); ++r) {
    for (int64_t c = 0; c < want.cols(); ++c) {
      const double a = element(got, r, c), b = element(want, r, c);
      if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::infinity();
      if (a == b) continue;  // equal infinities too
      worst = std::max(worst, std::fabs(a - b));
      scale = std::max(scale, std::fabs(b));
    }
  }
  for (int64_t r = 0; r < want.rows(); ++r) {
    for (int64_t c = 0; c < want.cols(); ++c) scale = std::max(scale, std::fabs(element(want, r, c)));
  }
  return scale > 0 ? worst / scale : worst;
}

double f32_tolerance(int64_t terms, double constant) {
  return constant * std::sqrt(static_cast<double>(std::max<int64_t>(terms, 1))) *
         static_cast<double>(std::numeric_limits<float>::epsilon());
}

double bf16_tolerance(Dtype stored, int64_t terms) {
  constexpr double kHalfUnit = 1.0 / 256;
  return f32_tolerance(terms) + (stored == Dtype::kBF16 ? kHalfUnit : 0.0);
}

double finite_difference_error(View x, View dx, const std::function<double()>& loss, int64_t samples,
                               double step) {
  double scale = 0, worst = 0;
  for (int64_t r = 0; r < dx.rows(); ++r) {
    for (int64_t c = 0; c < dx.cols(); ++c) scale = std::max(scale, std::fabs(element(dx, r, c)));
  }
  const int64_t stride = std::max<int64_t>(1, x.count() / samples);
  for (int64_t i = 0; i < x.count(); i += stride) {
    const int64_t r = i / x.cols(), c = i % x.cols();
    double& w = x.row<double>(r)[c];
    const double kept = w;
    w = kept + step;
    const double above = loss();
    w = kept - step;
    const double below = loss();
    w = kept;
    const double fd = (above - below) / (2 * step);
    worst = std::max(worst, std::fabs(fd - element(dx, r, c)) / (std::fabs(fd) + scale + 1e-12));
  }
  return worst;
}

double dot(View a, View b) {
  double s = 0;
  for (int64_t r = 0; r < a.rows(); ++r) {
    for (int64_t c = 0; c < a.cols(); ++c) s += element(a, r, c) * element(b, r, c);
  }
  return s;
}

double largest(View v) {
  double most = 0;
  for (int64_t r = 0; r < v.rows(); ++r) {
    for (int64_t c = 0; c < v.cols(); ++c) most = std::max(most, std::fabs(element(v, r, c)));
  }
  return most;
}

const std::vector<int64_t>& awkward_sizes() {
  static const std::vector<int64_t> sizes = {1, 2, 3, 7, 8, 13, 16, 17, 31, 33, 64, 67};
  return sizes;
}

}  // namespace natrix::test
