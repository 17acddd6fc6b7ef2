// The scan's inner loops: one vector of channels (lanes), one group of states (registers), one tile.
//
// A strip is a vector × a group × a tile. Arrays over time hold one vector per token, so a strip reads them
// as one run from L1. Arrays over states hold one vector per state, kScanBlock floats apart. exp(dt A) is
// computed as 2^(dt · A2), where A2 = A log2 e.
//
// The start of a document is an infinitely long step: `step` is FLT_MAX there. The decay is then exactly
// zero, and so is everything that would pass through it, forward and backward, without a branch.
// (ScaledRate keeps A2 far enough from zero that FLT_MAX · A2 underflows, and close enough that it does
// not affect any finite dt.)
//
// A strip is `mild` if no decay of its tile underflows and no document starts in the tile. Its exponentials
// then skip the clamp and give the same bits.

#if defined(NATRIX_KERNELS_CPU_SCAN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_SCAN_INL_H_
#undef NATRIX_KERNELS_CPU_SCAN_INL_H_
#else
#define NATRIX_KERNELS_CPU_SCAN_INL_H_
#endif

#include <algorithm>
#include <cfloat>
#include <hwy/highway.h>
#include <type_traits>

#include "kernels/cpu/scan_plan.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;
inline constexpr int64_t kMaxLanes = hn::MaxLanes(Floats());

/// B or C of one group of states: one row per token.
struct TokenRows {
  const float* first;
  int64_t stride;
  HWY_INLINE TokenRows from(int64_t n) const { return {first + n, stride}; }
  HWY_INLINE Vector at(int64_t t, int64_t n) const { return hn::Set(Floats(), first[t * stride + n]); }
};

struct Strip {
  int64_t tokens;
  bool mild;
  const float* step;   // [t]: dt, or FLT_MAX where a document starts
  const float* input;  // [t]: dt x
  const float* A2;     // [n]
  TokenRows B, C;
};

/// Four vectors, one per state of the group; they stay in registers.
struct Group {
  Vector state[kScanGroup];

  // Declared here, it is compiled with this target's attribute, as the constructor of NEON's vectors, which it calls.
  // An implicit one would not be.
  HWY_INLINE Group() = default;

  HWY_INLINE void load(const float* p) {
    for (int64_t n = 0; n < kScanGroup; ++n) state[n] = hn::Load(Floats(), p + n * kScanBlock);
  }
  HWY_INLINE void store(float* p) const {
    for (int64_t n = 0; n < kScanGroup; ++n) hn::Store(state[n], Floats(), p + n * kScanBlock);
  }
  HWY_INLINE void add_to(float* p) const {
    for (int64_t n = 0; n < kScanGroup; ++n) {
      float* of_state = p + n * kScanBlock;
      hn::Store(hn::Add(hn::Load(Floats(), of_state), state[n]), Floats(), of_state);
    }
  }
};

/// A log2 e from A_log. The smallest rate is 1e-36: too slow for any decay to show, but FLT_MAX times it
/// still underflows, which clears the state at a document start.
HWY_INLINE Vector ScaledRate(Vector A_log) {
  const Floats d;
  return AtMost(hn::Set(d, -1e-36f), hn::Mul(Exp(d, A_log), hn::Set(d, -1.44269504f)));
}

template <bool kMild>
HWY_INLINE Vector Decay(Vector step, Vector A2) {
  const auto x = hn::Mul(step, A2);
  if constexpr (kMild) return Exp2Normal(Floats(), x);
  return Exp2NonPositive(Floats(), x);
}

/// Calls walk(std::bool_constant<kMild>) with the strip's mildness as a constant.
template <class Walk>
HWY_INLINE auto AsMildAs(const Strip& s, const Walk& walk) {
  return s.mild ? walk(std::true_type()) : walk(std::false_type());
}

template <bool kOutput, bool kMild>
HWY_INLINE void AdvanceAs(const Strip& s, float* HWY_RESTRICT h_in_out, float* HWY_RESTRICT y) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  Group h, A2;
  h.load(h_in_out);
  A2.load(s.A2);
  for (int64_t t = 0; t < s.tokens; ++t) {
    const auto step = hn::Load(d, s.step + t * lanes);
    const auto input = hn::Load(d, s.input + t * lanes);
    auto out = kOutput ? hn::Load(d, y + t * lanes) : hn::Zero(d);
    HWY_UNROLL(4)
    for (int64_t n = 0; n < kScanGroup; ++n) {
      const auto decay = Decay<kMild>(step, A2.state[n]);
      h.state[n] = hn::MulAdd(decay, h.state[n], hn::Mul(input, s.B.at(t, n)));
      if (kOutput) out = hn::MulAdd(h.state[n], s.C.at(t, n), out);
    }
    if (kOutput) hn::Store(out, d, y + t * lanes);
  }
  h.store(h_in_out);
}

/// h ← exp(dt A) h + dt x B over the tile. With kOutput, also y[t] += Σ_n h C.
template <bool kOutput>
HWY_INLINE void Advance(const Strip& s, float* h_in_out, float* y) {
  AsMildAs(s, [&](auto mild) HWY_ATTR { AdvanceAs<kOutput, mild>(s, h_in_out, y); });
}

/// Padding after each power-of-two array on the stack: five cache lines of floats. Without it, the same token
/// of a dozen arrays would fall into one set of an eight-way L1.
inline constexpr int64_t kStagger = 80;

/// One Group per token, [t][n].
struct GroupOfTokens {
  HWY_ALIGN float values[kScanTile * kScanGroup * kMaxLanes + kStagger];
};

/// What a strip's forward walk saves for its backward walk.
struct SavedStrip {
  GroupOfTokens h_before;  // h_{t−1}
  GroupOfTokens decay;     // exp(dt_t A)
};

template <bool kMild>
HWY_INLINE Group RememberAs(const Strip& s, const float* h_before_tile, SavedStrip& saved) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  Group h, A2;
  h.load(h_before_tile);
  A2.load(s.A2);
  for (int64_t t = 0; t < s.tokens; ++t) {
    const auto step = hn::Load(d, s.step + t * lanes);
    const auto input = hn::Load(d, s.input + t * lanes);
    HWY_UNROLL(4)
    for (int64_t n = 0; n < kScanGroup; ++n) {
      const int64_t at = (t * kScanGroup + n) * lanes;
      const auto decay = Decay<kMild>(step, A2.state[n]);
      hn::Store(decay, d, saved.decay.values + at);
      hn::Store(h.state[n], d, saved.h_before.values + at);
      h.state[n] = hn::MulAdd(decay, h.state[n], hn::Mul(input, s.B.at(t, n)));
    }
  }
  return h;
}

/// Advances again from the state before the tile and saves what Retreat needs. Returns the
/// state after the tile.
HWY_INLINE Group Remember(const Strip& s, const float* h_before_tile, SavedStrip& saved) {
  return AsMildAs(s, [&](auto mild) HWY_ATTR { return RememberAs<mild>(s, h_before_tile, saved); });
}

/// Destinations of the backward walk's sums. Arrays over time hold one vector per token. Sums over channels
/// keep their lanes apart until all vectors of the block are done.
struct StripGradients {
  float* gB;     // [t]: Σ_n g B
  float* pA2;    // [t]: Σ_n p A2
  float* sum_B;  // [t][n]: Σ_vectors g dt x
  float* sum_C;  // [t][n]: Σ_vectors h dy
  float* dA;     // [n]: Σ_t p dt
};

/// Walks the strip backward from the state after it. `carried` is exp(dt_{t+1} A) g_{t+1}, the gradient of
/// the state at the tile's edge: on entry from the following tile, on return for the preceding tile.
///   g_t = dy_t C_t + exp(dt_{t+1} A) g_{t+1}        p_t = ∂L/∂(dt_t A) = exp(dt_t A) g_t h_{t−1}
/// The sum over the tile's time is formed separately. If each token were added to the sum over a long
/// sequence, it would lose the bits by which that sum has grown.
HWY_INLINE void Retreat(const Strip& s, const SavedStrip& saved, Group h, const float* dy,
                        float* carried_in_out, const StripGradients& sums) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  Group carried, dA;
  carried.load(carried_in_out);
  for (auto& of_state : dA.state) of_state = hn::Zero(d);
  for (int64_t t = s.tokens - 1; t >= 0; --t) {
    const auto step = hn::Load(d, s.step + t * lanes);
    const auto input = hn::Load(d, s.input + t * lanes);
    const auto out = hn::Load(d, dy + t * lanes);
    auto gB = hn::Load(d, sums.gB + t * lanes);
    auto pA2 = hn::Load(d, sums.pA2 + t * lanes);
    HWY_UNROLL(4)
    for (int64_t n = 0; n < kScanGroup; ++n) {
      const int64_t at = (t * kScanGroup + n) * lanes;
      const auto g = hn::MulAdd(out, s.C.at(t, n), carried.state[n]);
      hn::Store(hn::MulAdd(h.state[n], out, hn::Load(d, sums.sum_C + at)), d, sums.sum_C + at);
      hn::Store(hn::MulAdd(g, input, hn::Load(d, sums.sum_B + at)), d, sums.sum_B + at);
      gB = hn::MulAdd(g, s.B.at(t, n), gB);
      h.state[n] = hn::Load(d, saved.h_before.values + at);
      carried.state[n] = hn::Mul(g, hn::Load(d, saved.decay.values + at));
      const auto p = hn::Mul(carried.state[n], h.state[n]);
      pA2 = hn::MulAdd(p, hn::Load(d, s.A2 + n * kScanBlock), pA2);
      dA.state[n] = hn::MulAdd(p, step, dA.state[n]);
    }
    hn::Store(gB, d, sums.gB + t * lanes);
    hn::Store(pA2, d, sums.pA2 + t * lanes);
  }
  carried.store(carried_in_out);
  dA.add_to(sums.dA);
}

template <bool kMild>
HWY_INLINE void RetreatStateAs(const Strip& s, const float* dy, float* carried_in_out) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  Group carried, A2;
  carried.load(carried_in_out);
  A2.load(s.A2);
  for (int64_t t = s.tokens - 1; t >= 0; --t) {
    const auto step = hn::Load(d, s.step + t * lanes);
    const auto out = hn::Load(d, dy + t * lanes);
    HWY_UNROLL(4)
    for (int64_t n = 0; n < kScanGroup; ++n) {
      const auto decay = Decay<kMild>(step, A2.state[n]);
      carried.state[n] = hn::Mul(decay, hn::MulAdd(out, s.C.at(t, n), carried.state[n]));
    }
  }
  carried.store(carried_in_out);
}

/// The state's gradient alone, for the summary: carried ← exp(dt A) (carried + dy C), from the
/// last token to the first.
HWY_INLINE void RetreatState(const Strip& s, const float* dy, float* carried_in_out) {
  AsMildAs(s, [&](auto mild) HWY_ATTR { RetreatStateAs<mild>(s, dy, carried_in_out); });
}

#if HWY_TARGET != HWY_SCALAR
/// to[0 … 3] = the sum of the 128-bit blocks of v.
template <class D>
HWY_INLINE void StoreBlockSum(D d, hn::Vec<D> v, float* to) {
  if constexpr (hn::MaxLanes(d) == 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    StoreBlockSum(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)), to);
  }
}
#endif

/// to[n] = the sum of the lanes of vector n of `group` [n].
HWY_INLINE void SumLanes(const float* group, float* to) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
#if HWY_TARGET == HWY_SCALAR
  std::copy_n(group, kScanGroup * lanes, to);
#else
  // Two rounds of interleaving turn four vectors into one whose 128-bit blocks hold a partial sum of each.
  const auto a = hn::Load(d, group), b = hn::Load(d, group + lanes);
  const auto c = hn::Load(d, group + 2 * lanes), e = hn::Load(d, group + 3 * lanes);
  const hn::Repartition<double, Floats> pairs;
  const auto ab = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  const auto ce = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e)));
  const auto blocks = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, ab, ce)),
                              hn::BitCast(d, hn::InterleaveUpper(pairs, ab, ce)));
  StoreBlockSum(d, blocks, to);
#endif
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
