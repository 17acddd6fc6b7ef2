// What the CPU kernels of Mamba-2 prepare for a tile: steps and decays of a head, packed operands of a group.
//
// a_t = Σ_{k ≤ t} Δ_k A log2 e, summed from the start of the tile or of the document. The decay from token j to token i is
// 2^(a_i − a_j). A difference of two f32 sums would have the error of the larger one, so a_t is summed in
// double and kept as a pair of floats, high + low.
//
// The sum begins anew with each document. No decay crosses a start, and the rounding of a document's sums must not
// depend on the document before it.
//
// A step whose own decay is exactly zero in f32 counts as 2^−256: sums stay short, and every decay across it
// is zero all the same.

#if defined(NATRIX_KERNELS_CPU_SSD_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NATRIX_KERNELS_CPU_SSD_TILE_INL_H_
#undef NATRIX_KERNELS_CPU_SSD_TILE_INL_H_
#else
#define NATRIX_KERNELS_CPU_SSD_TILE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/cpu/ssd_products-inl.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

/// Documents of a tile.
struct SsdDocuments {
  int64_t first_start;      // the first token that starts a document; the number of tokens if none does
  int64_t start[kSsdTile];  // the first token of each token's document, or 0 if it began before the tile
  bool starts_any() const { return first_start < tokens; }
  int64_t last() const { return start[tokens - 1]; }  // start of the last document
  int64_t tokens;

  SsdDocuments(View doc_start, const SsdTask& task, SsdTile tile)
      : first_start(tile.count), tokens(tile.count) {
    const uint8_t* starts = doc_start ? doc_start.row<uint8_t>(task.sequence) + tile.begin : nullptr;
    int64_t latest = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      if (starts != nullptr && starts[t] != 0) {
        latest = t;
        first_start = std::min(first_start, t);
      }
      start[t] = latest;
    }
  }
  bool starts_at(int64_t t) const { return t >= first_start && start[t] == t; }
};

/// The steps of a head in a tile, and decays that follow from them. Zero beyond the last token.
struct SsdSteps {
  HWY_ALIGN float raw[kSsdTile];   // dt + dt_bias
  HWY_ALIGN float step[kSsdTile];  // Δ
  HWY_ALIGN float high[kSsdTile];  // a, as high + low
  HWY_ALIGN float low[kSsdTile];
  HWY_ALIGN float from_start[kSsdTile];  // decay of the state before the tile
  HWY_ALIGN float to_end[kSsdTile];      // decay from this token to the last
  HWY_ALIGN float weight[kSsdTile];      // Δ · to_end
  float decay;                           // of the state across the tile
  double total;                          // Σ Δ A log2 e
};

inline constexpr double kSsdNoDecay = -127;  // 2^x is exactly zero from here down, see exp2-inl.h

template <class Args>
inline HWY_NOINLINE void PrepareSteps(const Args& a, const SsdPlan& plan, const SsdTask& task, SsdTile tile,
                                      int64_t h, const SsdDocuments& documents, SsdSteps& s) {
  const Floats d;
  const float bias = a.dt_bias ? a.dt_bias.template as<float>()[h] : 0.0f;
  std::fill_n(s.raw, kSsdTile, 0.0f);
  for (int64_t t = 0; t < tile.count; ++t)
    s.raw[t] = a.dt.template row<float>(plan.row(task, tile.begin + t))[h] + bias;
  const auto least = hn::Set(d, static_cast<float>(a.dt_min)),
             most = hn::Set(d, static_cast<float>(a.dt_max));
  for (int64_t t = 0; t < kSsdTile; t += lanes())
    hn::Store(AtMost(most, AtLeast(least, Softplus(d, hn::Load(d, s.raw + t)))), d, s.step + t);
  std::fill_n(s.step + tile.count, kSsdTile - tile.count, 0.0f);

  const double rate =
      -std::exp(static_cast<double>(a.A_log.template as<float>()[h])) * std::numbers::log2e_v<double>;
  double sum = 0;
  s.total = 0;
  for (int64_t t = 0; t < kSsdTile; ++t) {
    const double by = static_cast<double>(s.step[t]) * rate;
    s.total += by;
    if (t < tile.count && documents.starts_at(t)) sum = 0;
    sum += by <= kSsdNoDecay ? 2 * kSsdNoDecay : by;
    s.high[t] = static_cast<float>(sum);
    s.low[t] = static_cast<float>(sum - static_cast<double>(s.high[t]));
  }
  const auto high = hn::Set(d, s.high[tile.count - 1]), low = hn::Set(d, s.low[tile.count - 1]);
  for (int64_t t = 0; t < kSsdTile; t += lanes()) {
    hn::Store(Exp2NonPositive(d, hn::Load(d, s.high + t)), d, s.from_start + t);
    const auto to_end = hn::Add(hn::Sub(high, hn::Load(d, s.high + t)), hn::Sub(low, hn::Load(d, s.low + t)));
    hn::Store(Exp2NonPositive(d, AtMost(hn::Zero(d), to_end)), d, s.to_end + t);
  }
  s.decay = documents.starts_any() ? 0.0f : s.from_start[tile.count - 1];
  std::fill(s.from_start + documents.first_start, s.from_start + kSsdTile, 0.0f);
  std::fill_n(s.to_end, documents.last(), 0.0f);
  std::fill(s.to_end + tile.count, s.to_end + kSsdTile, 0.0f);
  for (int64_t t = 0; t < kSsdTile; ++t) s.weight[t] = s.step[t] * s.to_end[t];
}

/// The decay from tokens j, j + 1, … of a vector to token i; zero where they have none to each other.
HWY_INLINE Vector DecaysTo(const SsdSteps& s, const SsdDocuments& documents, int64_t i, int64_t j) {
  const Floats d;
  const auto exponent = hn::Add(hn::Sub(hn::Set(d, s.high[i]), hn::Load(d, s.high + j)),
                                hn::Sub(hn::Set(d, s.low[i]), hn::Load(d, s.low + j)));
  const auto token = hn::Iota(d, static_cast<float>(j));
  const auto seen = hn::And(hn::Ge(token, hn::Set(d, static_cast<float>(documents.start[i]))),
                            hn::Le(token, hn::Set(d, static_cast<float>(i))));
  return hn::IfThenElseZero(seen, Exp2NonPositive(d, AtMost(hn::Zero(d), exponent)));
}

/// The end of row i of a lower triangle as products read it: they take kSsdRows rows at once.
HWY_INLINE int64_t EndOfRow(int64_t i, int64_t tokens) {
  return std::min(i + kSsdRows, padded(tokens));
}

/// Copies columns [first, first + cols) of a tile's rows to rows `width` floats apart, padded with zeros to
/// whole vectors.
inline HWY_NOINLINE void PackSsdRows(View v, int64_t row, int64_t rows, int64_t first, int64_t cols,
                                     int64_t width, float* to) {
  const Floats d;
  for (int64_t r = 0; r < rows; ++r, to += width) {
    const float* from = v.row<float>(row + r) + first;
    int64_t c = 0;
    for (; c + lanes() <= cols; c += lanes()) hn::Store(hn::LoadU(d, from + c), d, to + c);
    if (c < cols) hn::Store(LoadSome(d, from + c, cols - c), d, to + c);
    for (c += c < cols ? lanes() : 0; c < padded(cols); c += lanes()) hn::Store(hn::Zero(d), d, to + c);
  }
}

/// Rows that will be read soon: x (and dy) of the next head, and a share of the next tile's B and C. They lie
/// in pages of their own, and no hardware prefetcher crosses pages.
class SsdUpcoming {
 public:
  /// Of the head after `i` in this tile, or the first head of the tile that begins at token `next_tile`, if
  /// there is one (below zero: there is none). y: dy, or x again.
  SsdUpcoming(const SsdPlan& plan, const SsdTask& task, SsdTile tile, int64_t i, int64_t next_tile)
      : task_(task), count_(task.count), i_(i) {
    const bool here = i + 1 < task.count;
    next_tile_ = next_tile < 0 ? -1 : plan.row(task, next_tile);
    rows_ = next_tile < 0 ? 0 : std::min(kSsdTile, plan.tokens - next_tile);
    head_row_ = here ? plan.row(task, tile.begin) : next_tile_;
    head_rows_ = here ? tile.count : rows_;
    first_ = (here ? task.first + i + 1 : task.first) * plan.channels;
    channels_ = plan.channels;
    states_ = plan.states;
  }
  HWY_INLINE void ask_head(View v, int64_t t) const {
    if (t < head_rows_) Ask(v.row<float>(head_row_ + t) + first_, channels_);
  }
  HWY_INLINE void ask_group(View v, int64_t t) const {
    if (t < rows_ && t % count_ == i_) Ask(v.row<float>(next_tile_ + t) + task_.group * states_, states_);
  }

 private:
  static HWY_INLINE void Ask(const float* p, int64_t cols) {
    for (int64_t c = 0; c < cols; c += kCacheLine) prefetch_into_l2(p + c);
  }

  const SsdTask& task_;
  int64_t count_, i_;
  int64_t next_tile_, rows_;      // first row and number of the next tile's rows
  int64_t head_row_, head_rows_;  // and of the next head's
  int64_t first_, channels_, states_;
};

/// to[c][r] = from[r][c]: rows `step` apart become columns, which are padded with zeros to `width`. Writes
/// whole lines of `to`; both sides should fit into the L1 cache.
inline HWY_NOINLINE void TransposeSsd(const float* from, int64_t step, int64_t rows, int64_t cols,
                                      int64_t width, float* to) {
  int64_t whole = 0;  // columns that are done
#if HWY_TARGET != HWY_SCALAR
  const Eight d;
  const auto n = static_cast<int64_t>(hn::Lanes(d));
  for (; whole + 4 <= cols; whole += 4) {
    float* out = to + whole * width;
    int64_t r = 0;
    for (; r + n <= rows; r += n) FourTerms(d, from + r * step + whole, step).store(d, out + r, width);
    for (int64_t c = 0; c < 4; ++c) {
      for (int64_t k = r; k < rows; ++k) out[c * width + k] = from[k * step + whole + c];
      std::fill(out + c * width + rows, out + (c + 1) * width, 0.0f);
    }
  }
#endif
  if (whole < cols) Pack(from + whole, step, 1, rows, cols - whole, width, to + whole * width);
}

/// to[r][p] = scale[r] from[r][p]
inline HWY_NOINLINE void ScaleRows(const float* from, const float* scale, int64_t rows, int64_t width,
                                   float* to) {
  const Floats d;
  for (int64_t r = 0; r < rows; ++r) {
    const auto by = hn::Set(d, scale[r]);
    for (int64_t p = 0; p < width; p += lanes())
      hn::Store(hn::Mul(by, hn::Load(d, from + r * width + p)), d, to + r * width + p);
  }
}

/// A state [P, N] of the caller in a task's layout; zero if there is none.
HWY_INLINE void LoadSsdState(const float* from, const SsdPlan& plan, float* to) {
  if (from == nullptr) return static_cast<void>(std::fill_n(to, plan.state_floats(), 0.0f));
  TransposeSsd(from, plan.states, plan.channels, plan.states, padded(plan.channels), to);
}

HWY_INLINE void StoreSsdState(const float* from, const SsdPlan& plan, float* to) {
  if (to != nullptr) TransposeSsd(from, padded(plan.channels), plan.states, plan.channels, plan.states, to);
}

/// Scratch of a task: takes arrays from `room` one after another.
class SsdRoom {
 public:
  explicit SsdRoom(float* room) : next_(room) {}
  float* take(int64_t floats) {
    float* here = next_;
    next_ += padded(floats);
    return here;
  }

 private:
  float* next_;
};

/// Where a product puts the rows of a head: in place if they are whole vectors, otherwise in `apart`, from
/// where unpack() copies them.
struct SsdRowsOut {
  View v;
  int64_t row, rows, first, cols;
  float* apart;

  bool in_place() const { return cols == padded(cols); }
  float* data() const { return in_place() ? v.row<float>(row) + first : apart; }
  int64_t step() const { return in_place() ? v.row_stride : padded(cols); }
  void unpack() const {
    if (in_place()) return;
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(apart + r * padded(cols), cols, v.row<float>(row + r) + first);
  }
};

/// state ← decay · old + Σ_t rows[t]ᵀ x[t], where x are rows of a head that are already scaled.
HWY_INLINE void AdvanceSsdState(const SsdPlan& plan, int64_t tokens, const float* rows, const float* x,
                                const float* old, float decay, float* state) {
  const int64_t width = padded(plan.channels);
  Multiply(SsdProduct{.rows = plan.states,
                      .cols = width,
                      .a = {},
                      .b = {},
                      .a2 = {rows, 1, plan.group_step()},
                      .b2 = {x, width},
                      .terms2 = tokens,
                      .old = old,
                      .keep = decay,
                      .c = state,
                      .c_row = width});
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
