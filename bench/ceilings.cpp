#include "bench/ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <numeric>
#include <vector>

#include "kernels/base/build.h"
#include "kernels/base/parallel.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/ceilings.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using cpu::HWY_NAMESPACE::Exp2NonPositive;
namespace {

constexpr int64_t kFmaRounds = 50'000;
constexpr int64_t kExpRounds = 20'000;

/// Multiply-adds on twelve independent sums: enough to hide the latency of two units, and few enough for 16
/// registers. The sums start with different values, because a compiler computes equal sums once. Returns the
/// number of operations. *sink keeps the compiler from removing them.
double fma_work(float seed, float* sink) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, seed), b = hn::Set(d, 1 - seed);
  auto s0 = a, s1 = hn::Add(s0, b), s2 = hn::Add(s1, b), s3 = hn::Add(s2, b), s4 = hn::Add(s3, b),
       s5 = hn::Add(s4, b), s6 = hn::Add(s5, b), s7 = hn::Add(s6, b), s8 = hn::Add(s7, b),
       s9 = hn::Add(s8, b), s10 = hn::Add(s9, b), s11 = hn::Add(s10, b);
  for (int64_t i = 0; i < kFmaRounds; ++i) {
    s0 = hn::MulAdd(s0, a, b);
    s1 = hn::MulAdd(s1, a, b);
    s2 = hn::MulAdd(s2, a, b);
    s3 = hn::MulAdd(s3, a, b);
    s4 = hn::MulAdd(s4, a, b);
    s5 = hn::MulAdd(s5, a, b);
    s6 = hn::MulAdd(s6, a, b);
    s7 = hn::MulAdd(s7, a, b);
    s8 = hn::MulAdd(s8, a, b);
    s9 = hn::MulAdd(s9, a, b);
    s10 = hn::MulAdd(s10, a, b);
    s11 = hn::MulAdd(s11, a, b);
  }
  const auto low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const auto high = hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  *sink = hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
  return 12.0 * 2.0 * static_cast<double>(kFmaRounds) * static_cast<double>(hn::Lanes(d));
}

/// Exponentials of four independent arguments, all of them small and negative.
double exp_work(float seed, float* sink) {
  const hn::ScalableTag<float> d;
  const auto step = hn::Set(d, -seed / static_cast<float>(kExpRounds)), quarter = hn::Set(d, 0.25f);
  auto x0 = hn::Zero(d), sum = hn::Zero(d);
  for (int64_t i = 0; i < kExpRounds; ++i) {
    const auto x1 = hn::Sub(x0, quarter), x2 = hn::Sub(x1, quarter), x3 = hn::Sub(x2, quarter);
    const auto e01 = hn::Add(Exp2NonPositive(d, x0), Exp2NonPositive(d, x1));
    const auto e23 = hn::Add(Exp2NonPositive(d, x2), Exp2NonPositive(d, x3));
    sum = hn::Add(sum, hn::Add(e01, e23));
    x0 = hn::Add(x0, step);
  }
  *sink = hn::GetLane(hn::SumOfLanes(d, sum));
  return 4.0 * static_cast<double>(kExpRounds) * static_cast<double>(hn::Lanes(d));
}

/// Adds up count floats, eight vectors at a time, from kStreams places side by side: nothing but
/// loads that wait for memory.
template <int kStreams>
float sum_of_streams(const float* x, int64_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  constexpr int kChains = 8, kEach = kChains / kStreams;
  const int64_t part = count / kStreams;
  hn::Vec<decltype(d)> sums[kChains];
  for (auto& s : sums) s = hn::Zero(d);
  for (int64_t i = 0; i + kEach * lanes <= part; i += kEach * lanes) {
    for (int c = 0; c < kChains; ++c) {
      sums[c] = hn::Add(sums[c], hn::LoadU(d, x + c / kEach * part + i + c % kEach * lanes));
    }
  }
  for (int c = 1; c < kChains; ++c) sums[0] = hn::Add(sums[0], sums[c]);
  return hn::GetLane(hn::SumOfLanes(d, sums[0]));
}

float sum_of(const float* x, int64_t count) {
  return sum_of_streams<1>(x, count);
}
float sum_of_four(const float* x, int64_t count) {
  return sum_of_streams<4>(x, count);
}

/// Halves count floats in place. Unlike a copy, it overwrites only memory that it has already read.
void halve(float* x, int64_t count) {
  const hn::ScalableTag<float> d;
  const auto half = hn::Set(d, 0.5f);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), half), d, x + i);
  }
}

}  // namespace
}  // namespace natrix::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::bench {
namespace {

HWY_EXPORT(fma_work);
HWY_EXPORT(exp_work);
HWY_EXPORT(sum_of);
HWY_EXPORT(sum_of_four);
HWY_EXPORT(halve);

double do_fma_work(float seed, float* sink) {
  return HWY_DYNAMIC_DISPATCH(fma_work)(seed, sink);
}
double do_exp_work(float seed, float* sink) {
  return HWY_DYNAMIC_DISPATCH(exp_work)(seed, sink);
}

constexpr double kPatience = 0.3;  // least seconds spent on each ceiling
constexpr int kAttempts = 5;       // least attempts: a single one may be disturbed
                                   // Several times the size of today's last-level caches for two cores.
constexpr int64_t kStreamBytes = int64_t{192} << 20;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The highest of the rates that `attempt` returns.
double best_rate(const std::function<double()>& attempt) {
  double best = 0;
  const auto begin = Clock::now();
  for (int i = 0; i < kAttempts || seconds_since(begin) < kPatience; ++i) best = std::max(best, attempt());
  return best;
}

/// Runs all threads at once; each measures its own time. An attempt takes a fraction of a millisecond, and a
/// common clock would mostly measure the waking of threads.
double best_rate_in_registers(Context& ctx, double (*work)(float, float*)) {
  const volatile float seed = 0.5f;  // volatile keeps the compiler from computing the result in advance
  std::vector<float> sinks(static_cast<size_t>(ctx.threads()));
  std::vector<double> rates(sinks.size());
  return best_rate([&] {
    parallel_for(ctx, ctx.threads(), 1, [&](int64_t thread, int64_t) {
      const auto i = static_cast<size_t>(thread);
      const auto start = Clock::now();
      const double units = work(seed, &sinks[i]);
      rates[i] = units / seconds_since(start);
    });
    return std::accumulate(rates.begin(), rates.end(), 0.0);
  });
}

double best_copy_rate(Context& ctx) {
  // Zeroed, and so already paged in.
  const Buffer from(Dtype::kU8, {kStreamBytes}), to(Dtype::kU8, {kStreamBytes});
  const int64_t share = kStreamBytes / ctx.threads();
  return best_rate([&] {
    const auto start = Clock::now();
    parallel_for(ctx, kStreamBytes, share, [&](int64_t begin, int64_t end) {
      std::memcpy(to.view().as<uint8_t>() + begin, from.view().as<uint8_t>() + begin,
                  static_cast<size_t>(end - begin));
    });
    return 2.0 * static_cast<double>(kStreamBytes) / seconds_since(start);
  });
}

double best_update_rate(Context& ctx) {
  const Buffer array(Dtype::kF32, {kStreamBytes / 4});
  const int64_t count = array.view().count(), share = (count + ctx.threads() - 1) / ctx.threads();
  return best_rate([&] {
    const auto start = Clock::now();
    parallel_for(ctx, count, share, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(halve)(array.view().as<float>() + begin, end - begin);
    });
    return 2.0 * static_cast<double>(kStreamBytes) / seconds_since(start);
  });
}

double best_read_rate(Context& ctx, bool streams) {
  const Buffer from(Dtype::kF32, {kStreamBytes / 4});
  const int64_t count = from.view().count(), share = (count + ctx.threads() - 1) / ctx.threads();
  std::vector<float> sinks(static_cast<size_t>(ctx.threads()));
  return best_rate([&] {
    const auto start = Clock::now();
    parallel_for(ctx, count, share, [&](int64_t begin, int64_t end) {
      const float* x = from.view().as<float>() + begin;
      sinks[static_cast<size_t>(begin / share)] = streams ? HWY_DYNAMIC_DISPATCH(sum_of_four)(x, end - begin)
                                                          : HWY_DYNAMIC_DISPATCH(sum_of)(x, end - begin);
    });
    return static_cast<double>(kStreamBytes) / seconds_since(start);
  });
}

}  // namespace

Ceilings measure_ceilings(Context& ctx, bool quick) {
  if constexpr (build::kCuda) {
    if (ctx.backend() == Backend::kCuda) return measure_device(ctx, quick);
  }
  return {.flops = best_rate_in_registers(ctx, do_fma_work),
          .exps = best_rate_in_registers(ctx, do_exp_work),
          .bytes = std::max(best_copy_rate(ctx), best_update_rate(ctx)),
          .reads = std::max(best_read_rate(ctx, false), best_read_rate(ctx, true))};
}

std::string instruction_set() {
  return hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets());
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets())
    names.emplace_back(hwy::TargetName(target));
  return names;
}

bool use_instruction_set(const std::string& name) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (name != hwy::TargetName(target)) continue;
    hwy::SetSupportedTargetsForTest(target);
    return true;
  }
  return false;
}

}  // namespace natrix::bench
#endif
