// The Mamba-2 recurrence as its formulas say, one token after another. Gradients: docs/math/ssd.md.
// Storage is f32 or f64, arithmetic is in double.
// Memory besides the operands: O(√T · H · P · N) in backward, O(H · P · N) otherwise.
#include "kernels/ssd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/functions.h"

namespace natrix::reference {
namespace {

using Doubles = std::vector<double>;

size_t at(int64_t i) {
  return static_cast<size_t>(i);
}

/// The sizes, the rates and the steps, which all four operations have.
template <class T>
struct Recurrence {
  int64_t batch, tokens, heads, channels, states;  // B, T, H, P, N
  int64_t heads_a_group;
  View dt, dt_bias, doc_start;
  double dt_min, dt_max;
  Doubles A;

  /// x: x or dy. B: B or C.
  template <class Args>
  Recurrence(const Args& a, View x, View B)
      : batch(a.dt.extent(0)),
        tokens(a.dt.extent(1)),
        heads(a.dt.extent(2)),
        channels(x.cols() / heads),
        states(B.cols() / a.groups),
        heads_a_group(heads / a.groups),
        dt(a.dt),
        dt_bias(a.dt_bias),
        doc_start(a.doc_start),
        dt_min(a.dt_min),
        dt_max(a.dt_max),
        A(at(heads)) {
    for (int64_t h = 0; h < heads; ++h)
      A[at(h)] = -std::exp(static_cast<double>(a.A_log.template as<T>()[h]));
  }

  int64_t state_size() const { return heads * channels * states; }
  bool starts(int64_t row) const {
    return doc_start && doc_start.row<uint8_t>(row / tokens)[row % tokens] != 0;
  }
  double unlimited_step(int64_t row, int64_t h) const {
    const double bias = dt_bias ? static_cast<double>(dt_bias.as<T>()[h]) : 0.0;
    return softplus(static_cast<double>(dt.row<T>(row)[h]) + bias);
  }
  double step(int64_t row, int64_t h) const { return std::clamp(unlimited_step(row, h), dt_min, dt_max); }
  /// dΔ/d(dt)
  double step_derivative(int64_t row, int64_t h) const {
    const double s = unlimited_step(row, h);
    return s < dt_min || s > dt_max ? 0.0 : softplus_derivative(s);
  }
  /// The factor by which S_{t−1} enters S_t.
  double decay(int64_t row, int64_t h) const { return starts(row) ? 0.0 : std::exp(step(row, h) * A[at(h)]); }

  Doubles load_state(View state, int64_t b) const {
    Doubles S(at(state_size()), 0.0);
    if (state) std::copy_n(state.as<T>() + b * state_size(), state_size(), S.begin());
    return S;
  }
  void store_state(const Doubles& S, View state, int64_t b) const {
    if (!state) return;
    T* p = state.as<T>() + b * state_size();
    for (size_t i = 0; i < S.size(); ++i) p[i] = static_cast<T>(S[i]);
  }

  /// Calls body(h, p, first element of the state's row, first state of the head's group).
  template <class Body>
  void for_channels(const Body& body) const {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t p = 0; p < channels; ++p)
        body(h, p, (h * channels + p) * states, h / heads_a_group * states);
    }
  }

  /// S ← exp(Δ A) S + Δ x Bᵀ
  void advance(Doubles& S, View x, View B, int64_t row) const {
    for_channels([&](int64_t h, int64_t p, int64_t first, int64_t group) {
      const double a = decay(row, h);
      const double input = step(row, h) * static_cast<double>(x.row<T>(row)[h * channels + p]);
      for (int64_t n = 0; n < states; ++n) {
        double& s = S[at(first + n)];
        s = a * s + input * static_cast<double>(B.row<T>(row)[group + n]);
      }
    });
  }

  /// exp(A Σ Δ) of sequence b, or zero where a document starts in it.
  void store_total_decay(View decay_out, int64_t b) const {
    for (int64_t h = 0; h < heads; ++h) {
      double sum = 0;
      bool whole = true;
      for (int64_t row = b * tokens; row < (b + 1) * tokens; ++row) {
        sum += step(row, h);
        whole = whole && !starts(row);
      }
      decay_out.as<T>()[b * heads + h] = static_cast<T>(whole ? std::exp(sum * A[at(h)]) : 0.0);
    }
  }
};

template <class T>
void forward(const SsdForward& a) {
  const Recurrence<T> r(a, a.x, a.B);
  for (int64_t b = 0; b < r.batch; ++b) {
    Doubles S = r.load_state(a.state_in, b);
    for (int64_t row = b * r.tokens; row < (b + 1) * r.tokens; ++row) {
      r.advance(S, a.x, a.B, row);
      r.for_channels([&](int64_t h, int64_t p, int64_t first, int64_t group) {
        const int64_t channel = h * r.channels + p;
        const double D = a.D ? static_cast<double>(a.D.as<T>()[h]) : 0.0;
        double y = D * static_cast<double>(a.x.row<T>(row)[channel]);
        for (int64_t n = 0; n < r.states; ++n) {
          y += S[at(first + n)] * static_cast<double>(a.C.row<T>(row)[group + n]);
        }
        a.y.row<T>(row)[channel] = static_cast<T>(y);
      });
    }
    r.store_state(S, a.state_out, b);
  }
}

/// Gradients that sum over tokens and sequences.
struct SharedGradients {
  Doubles A, D, dt_bias;
};

/// One token backwards. On entry R = exp(Δ_{t+1} A) R_{t+1}, the gradient of S_t from later tokens. On return
/// it is the gradient of S_{t−1} from this token and later ones.
template <class T>
void backward_token(const SsdBackward& a, const Recurrence<T>& r, int64_t row, const Doubles& before,
                    const Doubles& S, Doubles& R, SharedGradients& shared) {
  Doubles dB(at(a.B.cols()), 0.0), dC(dB), through_decay(at(r.heads), 0.0), through_input(through_decay);
  r.for_channels([&](int64_t h, int64_t p, int64_t first, int64_t group) {
    const int64_t channel = h * r.channels + p;
    const double x = static_cast<double>(a.x.row<T>(row)[channel]);
    const double dy = static_cast<double>(a.dy.row<T>(row)[channel]);
    const double decay = r.decay(row, h), step = r.step(row, h);
    double RB = 0;
    for (int64_t n = 0; n < r.states; ++n) {
      double& g = R[at(first + n)];
      g += dy * static_cast<double>(a.C.row<T>(row)[group + n]);
      dC[at(group + n)] += S[at(first + n)] * dy;
      dB[at(group + n)] += g * step * x;
      RB += g * static_cast<double>(a.B.row<T>(row)[group + n]);
      g *= decay;
      through_decay[at(h)] += g * before[at(first + n)];  // ∂L/∂(Δ A)
    }
    through_input[at(h)] += RB * x;
    const double D = a.D ? static_cast<double>(a.D.as<T>()[h]) : 0.0;
    a.dx.row<T>(row)[channel] = static_cast<T>(step * RB + D * dy);
    shared.D[at(h)] += dy * x;
  });
  for (int64_t h = 0; h < r.heads; ++h) {
    const double dstep = through_decay[at(h)] * r.A[at(h)] + through_input[at(h)];
    const double ddt = dstep * r.step_derivative(row, h);
    a.ddt.row<T>(row)[h] = static_cast<T>(ddt);
    shared.dt_bias[at(h)] += ddt;
    shared.A[at(h)] += through_decay[at(h)] * r.step(row, h);
  }
  for (int64_t n = 0; n < a.B.cols(); ++n) {
    a.dB.row<T>(row)[n] = static_cast<T>(dB[at(n)]);
    a.dC.row<T>(row)[n] = static_cast<T>(dC[at(n)]);
  }
}

/// Walks one sequence back. The state is kept at every √T-th token; the states in between are recomputed.
template <class T>
void backward_sequence(const SsdBackward& a, const Recurrence<T>& r, int64_t b, SharedGradients& shared) {
  const auto stretch = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(r.tokens))));
  std::vector<Doubles> kept;  // the state before token 0, stretch, 2 stretch, …
  Doubles S = r.load_state(a.state_in, b);
  for (int64_t t = 0; t < r.tokens; ++t) {
    if (t % stretch == 0) kept.push_back(S);
    r.advance(S, a.x, a.B, b * r.tokens + t);
  }
  Doubles R = r.load_state(a.dstate_out, b);
  for (int64_t end = r.tokens; !kept.empty(); kept.pop_back()) {
    const int64_t begin = (static_cast<int64_t>(kept.size()) - 1) * stretch;
    std::vector<Doubles> states = {kept.back()};  // states[k] is S before token begin + k
    for (int64_t t = begin; t < end; ++t) {
      states.push_back(states.back());
      r.advance(states.back(), a.x, a.B, b * r.tokens + t);
    }
    for (int64_t t = end - 1; t >= begin; --t)
      backward_token(a, r, b * r.tokens + t, states[at(t - begin)], states[at(t - begin + 1)], R, shared);
    end = begin;
  }
  r.store_state(R, a.dstate_in, b);
}

template <class T>
void backward(const SsdBackward& a) {
  const Recurrence<T> r(a, a.x, a.B);
  const Doubles zero(at(r.heads), 0.0);
  SharedGradients shared{zero, zero, zero};
  for (int64_t b = 0; b < r.batch; ++b) backward_sequence(a, r, b, shared);
  for (int64_t h = 0; h < r.heads; ++h) {
    a.dA_log.as<T>()[h] += static_cast<T>(shared.A[at(h)] * r.A[at(h)]);  // dA/dA_log = A
    if (a.dD) a.dD.as<T>()[h] += static_cast<T>(shared.D[at(h)]);
    if (a.ddt_bias) a.ddt_bias.as<T>()[h] += static_cast<T>(shared.dt_bias[at(h)]);
  }
}

template <class T>
void summary(const SsdSummary& a) {
  const Recurrence<T> r(a, a.x, a.B);
  for (int64_t b = 0; b < r.batch; ++b) {
    Doubles S(at(r.state_size()), 0.0);
    for (int64_t t = 0; t < r.tokens; ++t) r.advance(S, a.x, a.B, b * r.tokens + t);
    r.store_state(S, a.state, b);
    r.store_total_decay(a.decay, b);
  }
}

template <class T>
void summary_backward(const SsdSummaryBackward& a) {
  const Recurrence<T> r(a, a.dy, a.C);
  for (int64_t b = 0; b < r.batch; ++b) {
    Doubles R(at(r.state_size()), 0.0);
    for (int64_t row = (b + 1) * r.tokens - 1; row >= b * r.tokens; --row) {
      r.for_channels([&](int64_t h, int64_t p, int64_t first, int64_t group) {
        const double decay = r.decay(row, h), dy = static_cast<double>(a.dy.row<T>(row)[h * r.channels + p]);
        for (int64_t n = 0; n < r.states; ++n) {
          double& g = R[at(first + n)];
          g = decay * (g + dy * static_cast<double>(a.C.row<T>(row)[group + n]));
        }
      });
    }
    r.store_state(R, a.state, b);
    r.store_total_decay(a.decay, b);
  }
}

}  // namespace

void ssd_forward(Context&, const SsdForward& args) {
  for_float(args.dt.dtype, [&](auto zero) { forward<decltype(zero)>(args); });
}

void ssd_backward(Context&, const SsdBackward& args) {
  for_float(args.dt.dtype, [&](auto zero) { backward<decltype(zero)>(args); });
}

void ssd_summary(Context&, const SsdSummary& args) {
  for_float(args.dt.dtype, [&](auto zero) { summary<decltype(zero)>(args); });
}

void ssd_summary_backward(Context&, const SsdSummaryBackward& args) {
  for_float(args.dt.dtype, [&](auto zero) { summary_backward<decltype(zero)>(args); });
}

}  // namespace natrix::reference
