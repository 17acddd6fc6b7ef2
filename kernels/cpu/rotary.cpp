// Rotary position embedding on vectors. Sines and cosines are made once per token for all heads, and from two
// tables: with position = 64 n + r, cos a = cos(64 n f) cos(r f) − sin(64 n f) sin(r f), in double. What they
// are depends on the position alone, hence no bit depends on chunks.
#include "kernels/rotary.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rotary.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {
namespace {

/// Turns the heads of one token. x may be y.
void RotateToken(const float* x, float* y, int64_t cols, int64_t head_dim, const float* cos, const float* sin,
                 int64_t pairs) {
  for (int64_t h = 0; h < cols; h += head_dim, x += head_dim, y += head_dim) {
    ForLanes(pairs, [&](int64_t i, int64_t n) HWY_ATTR {
      const auto x0 = Get(x + i, n), x1 = Get(x + i + pairs, n), c = Get(cos + i, n), s = Get(sin + i, n);
      Put(hn::NegMulAdd(x1, s, hn::Mul(x0, c)), y + i, n);
      Put(hn::MulAdd(x0, s, hn::Mul(x1, c)), y + i + pairs, n);
    });
    if (x != y) std::copy(x + 2 * pairs, x + head_dim, y + 2 * pairs);
  }
}

}  // namespace
}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {
namespace {

HWY_EXPORT(RotateToken);

constexpr int64_t kStride = 64;  // positions that share the sines of one multiple

using Doubles = std::vector<double>;

/// The cosines of position · frequency, then the sines.
Doubles turns_of(int64_t position, const Rotary& a) {
  const size_t pairs = a.frequencies.size();
  Doubles turns(2 * pairs);
  for (size_t i = 0; i < pairs; ++i) {
    const double angle = static_cast<double>(position) * a.frequencies[i];
    turns[i] = std::cos(angle);
    turns[pairs + i] = std::sin(angle);
  }
  return turns;
}

/// Of all the remainders r that occur.
std::vector<Doubles> turns_of_remainders(std::span<const int64_t> positions, const Rotary& a) {
  std::vector<Doubles> turns(kStride);
  for (const int64_t position : positions) {
    Doubles& of_r = turns[static_cast<size_t>(position % kStride)];
    if (of_r.empty()) of_r = turns_of(position % kStride, a);
  }
  return turns;
}

/// The sines and cosines of one token after another.
class Turns {
 public:
  Turns(const Rotary& a, const std::vector<Doubles>& near)
      : a_(a), near_(near), cos_(a.frequencies.size()), sin_(a.frequencies.size()) {}

  void move_to(int64_t position) {
    if (const int64_t n = position / kStride; n != n_) {
      far_ = turns_of(n * kStride, a_);
      n_ = n;
    }
    const Doubles& near = near_[static_cast<size_t>(position % kStride)];
    const size_t pairs = cos_.size();
    const double sign = a_.reverse ? -1 : 1;
    for (size_t i = 0; i < pairs; ++i) {
      const double c = far_[i], s = far_[pairs + i], near_c = near[i], near_s = near[pairs + i];
      cos_[i] = static_cast<float>(a_.magnitude * (c * near_c - s * near_s));
      sin_[i] = static_cast<float>(sign * a_.magnitude * (s * near_c + c * near_s));
    }
  }
  const float* cos() const { return cos_.data(); }
  const float* sin() const { return sin_.data(); }

 private:
  const Rotary& a_;
  const std::vector<Doubles>& near_;
  std::vector<float> cos_, sin_;
  int64_t n_ = -1;
  Doubles far_;
};

}  // namespace

void rotary(Context& ctx, const Rotary& args) {
  require_f32(args.x, "rotary: the CPU backend computes in f32 only");
  const int64_t tokens = args.x.extent(1);
  std::vector<int64_t> positions(static_cast<size_t>(args.x.rows()));
  for (int64_t b = 0; b < args.x.extent(0); ++b) {
    find_positions(
        args, b, std::span(positions).subspan(static_cast<size_t>(b * tokens), static_cast<size_t>(tokens)));
  }
  const std::vector<Doubles> near = turns_of_remainders(positions, args);
  const int64_t grain = std::max<int64_t>(kStride, rows_a_block(args.x.cols()));
  parallel_for(ctx, args.x.rows(), grain, [&](int64_t begin, int64_t end) {
    Turns turns(args, near);
    for (int64_t r = begin; r < end; ++r) {
      turns.move_to(positions[static_cast<size_t>(r)]);
      HWY_DYNAMIC_DISPATCH(RotateToken)
      (args.x.row<float>(r), args.y.row<float>(r), args.x.cols(), args.head_dim, turns.cos(), turns.sin(),
       static_cast<int64_t>(args.frequencies.size()));
    }
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
