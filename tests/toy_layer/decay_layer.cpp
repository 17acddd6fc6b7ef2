#include "tests/toy_layer/decay_layer.h"

#include <cmath>

#include "core/layers/linear.h"
#include "kernels/base/loops.h"

namespace natrix::test {
namespace {

enum class Reads { kNothing, kPosition };

class DecayLayer final : public Layer {
 public:
  DecayLayer(const LayerSite& site, Reads reads)
      : layer_(site.sublayer),
        width_(site.config.d_model),
        reads_(reads),
        decay_(make_param(site.prefix + "decay", {width_}, Init::kZeros, false)) {}

  bool leaves_behind(Visit) const override { return true; }
  void visit(const ParamVisitor& visitor) override { visitor(decay_); }
  bool uses_position() const override { return reads_ == Reads::kPosition; }
  std::vector<CarrySpec> carries() const override {
    return {{.part = "average", .row = {width_}, .dtype = decay_.value.dtype}};
  }

  View forward(Pass& p, View x) const override {
    View y = p.arena().like(x), h = p.arena().take(x.dtype, state_shape(p));
    for_float(x.dtype, [&](auto zero) { average<decltype(zero)>(p, x, y, h); });
    if (p.keeps()) p.saved.push(y);
    return y;
  }

  View backward(Pass& p, View dy) override {
    const View y = p.saved.pop<View>();
    View dx = p.arena().like(dy), dh = p.arena().take(dy.dtype, state_shape(p));
    for_float(dy.dtype, [&](auto zero) { average_backward<decltype(zero)>(p, y, dy, dx, dh); });
    return dx;
  }

 private:
  CarryKey key() const { return {layer_, 0}; }
  Shape state_shape(const Pass& p) const { return {p.segment.batch, width_}; }
  static bool starts(const Pass& p, int64_t row) {
    return p.segment.doc_start && p.segment.doc_start.as<uint8_t>()[row] != 0;
  }
  template <class T>
  T decay_of(int64_t c) const {
    return T{1} / (T{1} + std::exp(-decay_.value.as<T>()[c]));
  }

  /// The segment as a map of its entering state: decay a^T, or 0 where a document starts in it.
  template <class T>
  SegmentMap map_of(Pass& p, View x) const {
    SegmentMap map{p.arena().take(x.dtype, state_shape(p)), p.arena().take(x.dtype, state_shape(p))};
    each_channel(p, x, [&](int64_t b, int64_t c) {
      T product = 1, h = 0;
      for (int64_t t = 0; t < p.segment.tokens; ++t) {
        const int64_t row = b * p.segment.tokens + t;
        const T a = starts(p, row) ? T{0} : decay_of<T>(c);
        product *= a;
        h = a * h + x.row<T>(row)[c] + offset<T>(p, b, t);
      }
      map.decay.row<T>(b)[c] = product;
      map.state.row<T>(b)[c] = h;
    });
    return map;
  }

  template <class T>
  void average(Pass& p, View x, View y, View h) const {
    const View before = p.carry.enter(key(), x.dtype, state_shape(p), [&] { return map_of<T>(p, x); });
    each_channel(p, x, [&](int64_t b, int64_t c) {
      T state = before ? before.row<T>(b)[c] : T{0};
      for (int64_t t = 0; t < p.segment.tokens; ++t) {
        const int64_t row = b * p.segment.tokens + t;
        state = (starts(p, row) ? T{0} : decay_of<T>(c) * state) + x.row<T>(row)[c] + offset<T>(p, b, t);
        y.row<T>(row)[c] = state;
      }
      h.row<T>(b)[c] = state;
    });
    p.carry.leave(key(), h);
    if (p.keeps()) p.saved.push(before);
  }

  /// The position of token t of row b, in thousandths.
  template <class T>
  T offset(const Pass& p, int64_t b, int64_t t) const {
    if (reads_ == Reads::kNothing) return 0;
    int64_t start = t;
    while (start >= 0 && !starts(p, b * p.segment.tokens + start)) --start;
    const int64_t position = start >= 0 ? t - start : p.segment.position.as<int64_t>()[b] + t;
    return static_cast<T>(position) / 1000;
  }

  /// With g_t = ∂L/∂h_t = dy_t + a ⊙ g_{t+1}:  dx_t = g_t,  dw = σ'(w) Σ g_t h_{t−1}.
  template <class T>
  void average_backward(Pass& p, View y, View dy, View dx, View dh) {
    const View before = p.saved.pop<View>();
    const View after = p.carry.enter(key(), dy.dtype, state_shape(p), [&] {
      SegmentMap map{p.arena().take(dy.dtype, state_shape(p)), p.arena().take(dy.dtype, state_shape(p))};
      walk_back<T>(p, dy, View{}, View{}, map.state, &map.decay);
      return map;
    });
    walk_back<T>(p, dy, after, dx, dh, nullptr);
    p.carry.leave(key(), dh);
    each_channel(p, y, [&](int64_t b, int64_t c) {
      const T a = decay_of<T>(c);
      for (int64_t t = 0; t < p.segment.tokens; ++t) {
        const int64_t row = b * p.segment.tokens + t;
        if (starts(p, row)) continue;
        const T state = t > 0 ? y.row<T>(row - 1)[c] : before ? before.row<T>(b)[c] : T{0};
        decay_.grad.as<T>()[c] += dx.row<T>(row)[c] * state * a * (1 - a);
      }
    });
  }

  template <class T>
  void walk_back(Pass& p, View dy, View after, View dx, View dh, const View* decay) const {
    each_channel(p, dy, [&](int64_t b, int64_t c) {
      T g = after ? after.row<T>(b)[c] : T{0}, product = 1;  // of the state that the segment leaves
      for (int64_t t = p.segment.tokens; t-- > 0;) {
        const int64_t row = b * p.segment.tokens + t;
        g += dy.row<T>(row)[c];
        if (dx) dx.row<T>(row)[c] = g;
        const T a = starts(p, row) ? T{0} : decay_of<T>(c);
        g *= a;
        product *= a;
      }
      dh.row<T>(b)[c] = g;
      if (decay != nullptr) decay->row<T>(b)[c] = product;
    });
  }

  /// body(row of the batch, channel), which reads and writes activations like x.
  template <class F>
  void each_channel(Pass& p, View x, F&& body) const {
    run_loops(p.ctx, {.bytes = bytes_of({x, x})}, [&] {
      for (int64_t b = 0; b < p.segment.batch; ++b) {
        for (int64_t c = 0; c < width_; ++c) body(b, c);
      }
    });
  }

  int layer_;
  int64_t width_;
  Reads reads_;
  Param decay_;
};

}  // namespace

LayerKinds toy_kinds() {
  std::vector<LayerKind> rows = builtin_layer_kinds().rows();
  rows.push_back({'T', "decaying average", "", [](const LayerSite& site) -> std::unique_ptr<Layer> {
                    return std::make_unique<DecayLayer>(site, Reads::kNothing);
                  }});
  rows.push_back(
      {'P', "decaying average with positions", "", [](const LayerSite& site) -> std::unique_ptr<Layer> {
         return std::make_unique<DecayLayer>(site, Reads::kPosition);
       }});
  return LayerKinds(std::move(rows));
}

}  // namespace natrix::test
