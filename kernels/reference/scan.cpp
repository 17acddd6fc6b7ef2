// The selective scan as its formulas say, one token after another. Gradients: docs/math/scan.md.
// Storage is f32 or f64, arithmetic is in double.
// Memory besides the operands: O(√T · I · N) in backward, O(I · N) otherwise.
#include "kernels/scan.h"

#include <cmath>
#include <vector>

namespace natrix::reference {
namespace {

using Doubles = std::vector<double>;

struct Sizes {
  int64_t batch, tokens, channels, states;  // B, T, I, N

  Sizes(View dt, View A_log)
      : batch(dt.extent(0)), tokens(dt.extent(1)), channels(dt.extent(2)), states(A_log.extent(1)) {}
  size_t state() const { return static_cast<size_t>(channels * states); }
};

/// A = −exp(A_log)
template <class T>
Doubles decay_rates(View A_log) {
  Doubles A(static_cast<size_t>(A_log.count()));
  for (size_t i = 0; i < A.size(); ++i) A[i] = -std::exp(static_cast<double>(A_log.as<T>()[i]));
  return A;
}

/// The state [I, N] of sequence b, or zero where the view is empty.
template <class T>
Doubles load_state(View state, int64_t b, const Sizes& size) {
  Doubles h(size.state(), 0.0);
  if (state) {
    const T* p = state.as<T>() + b * size.channels * size.states;
    h.assign(p, p + h.size());
  }
  return h;
}

template <class T>
void store_state(const Doubles& h, View state, int64_t b, const Sizes& size) {
  if (!state) return;
  T* p = state.as<T>() + b * size.channels * size.states;
  for (size_t i = 0; i < h.size(); ++i) p[i] = static_cast<T>(h[i]);
}

bool starts_document(View doc_start, int64_t b, int64_t t) {
  return doc_start && doc_start.row<uint8_t>(b)[t] != 0;
}

/// The factor by which h_{t−1} enters h_t.
double decay(double dt, double A, bool starts) {
  return starts ? 0.0 : std::exp(dt * A);
}

/// h ← exp(dt A) h + dt x B, for one token.
template <class T>
void advance(Doubles& h, const Doubles& A, const T* dt, const T* x, const T* B, bool starts,
             const Sizes& size) {
  for (int64_t i = 0; i < size.channels; ++i) {
    const double step = static_cast<double>(dt[i]), input = step * static_cast<double>(x[i]);
    for (int64_t n = 0; n < size.states; ++n) {
      const auto s = static_cast<size_t>(i * size.states + n);
      h[s] = decay(step, A[s], starts) * h[s] + input * static_cast<double>(B[n]);
    }
  }
}

template <class T>
void forward(const ScanForward& a) {
  const Sizes size(a.dt, a.A_log);
  const Doubles A = decay_rates<T>(a.A_log);
  for (int64_t b = 0; b < size.batch; ++b) {
    Doubles h = load_state<T>(a.state_in, b, size);
    for (int64_t t = 0; t < size.tokens; ++t) {
      const int64_t row = b * size.tokens + t;
      const T *x = a.x.row<T>(row), *C = a.C.row<T>(row);
      advance(h, A, a.dt.row<T>(row), x, a.B.row<T>(row), starts_document(a.doc_start, b, t), size);
      for (int64_t i = 0; i < size.channels; ++i) {
        double y = a.D ? static_cast<double>(a.D.as<T>()[i]) * static_cast<double>(x[i]) : 0.0;
        for (int64_t n = 0; n < size.states; ++n) {
          y += h[static_cast<size_t>(i * size.states + n)] * static_cast<double>(C[n]);
        }
        a.y.row<T>(row)[i] = static_cast<T>(y);
      }
    }
    store_state<T>(h, a.state_out, b, size);
  }
}

/// Gradients that sum over tokens and sequences.
struct SharedGradients {
  Doubles A, D;
};

/// One token backwards. On entry g = exp(dt_{t+1} A) g_{t+1}, the gradient of h_t from later tokens. On
/// return g is the gradient of h_{t−1} from this token and later ones.
template <class T>
void backward_token(const ScanBackward& a, const Sizes& size, const Doubles& A, int64_t row, bool starts,
                    const Doubles& h_before, const Doubles& h, Doubles& g, SharedGradients& shared) {
  const T *x = a.x.row<T>(row), *dt = a.dt.row<T>(row), *B = a.B.row<T>(row), *C = a.C.row<T>(row);
  const T* dy = a.dy.row<T>(row);
  Doubles dB(static_cast<size_t>(size.states), 0.0), dC(dB);
  for (int64_t i = 0; i < size.channels; ++i) {
    const double step = static_cast<double>(dt[i]), input = static_cast<double>(x[i]);
    const double out = static_cast<double>(dy[i]);
    double ddt = 0, gB = 0;
    for (int64_t n = 0; n < size.states; ++n) {
      const auto s = static_cast<size_t>(i * size.states + n), k = static_cast<size_t>(n);
      const double b = static_cast<double>(B[n]), c = static_cast<double>(C[n]);
      g[s] += out * c;
      dC[k] += h[s] * out;
      dB[k] += g[s] * step * input;
      gB += g[s] * b;
      const double carried = g[s] * decay(step, A[s], starts);
      const double p = carried * h_before[s];  // ∂L/∂(dt A)
      ddt += p * A[s] + g[s] * b * input;
      shared.A[s] += p * step;
      g[s] = carried;
    }
    const double D = a.D ? static_cast<double>(a.D.as<T>()[i]) : 0.0;
    a.dx.row<T>(row)[i] = static_cast<T>(step * gB + D * out);
    a.ddt.row<T>(row)[i] = static_cast<T>(ddt);
    shared.D[static_cast<size_t>(i)] += out * input;
  }
  for (int64_t n = 0; n < size.states; ++n) {
    a.dB.row<T>(row)[n] = static_cast<T>(dB[static_cast<size_t>(n)]);
    a.dC.row<T>(row)[n] = static_cast<T>(dC[static_cast<size_t>(n)]);
  }
}

/// Walks one sequence back. The state is kept at every √T-th token; the states in between are
/// recomputed span by span.
template <class T>
void backward_sequence(const ScanBackward& a, const Sizes& size, const Doubles& A, int64_t b,
                       SharedGradients& shared) {
  const auto stretch = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(size.tokens))));
  auto next = [&](Doubles h, int64_t t) {
    const int64_t row = b * size.tokens + t;
    advance(h, A, a.dt.row<T>(row), a.x.row<T>(row), a.B.row<T>(row), starts_document(a.doc_start, b, t),
            size);
    return h;
  };

  std::vector<Doubles> kept;  // the state before token 0, stretch, 2 stretch, …
  Doubles h = load_state<T>(a.state_in, b, size);
  for (int64_t t = 0; t < size.tokens; ++t) {
    if (t % stretch == 0) kept.push_back(h);
    h = next(std::move(h), t);
  }

  Doubles g = load_state<T>(a.dstate_out, b, size);
  for (int64_t end = size.tokens; !kept.empty(); kept.pop_back()) {
    const int64_t begin = (static_cast<int64_t>(kept.size()) - 1) * stretch;
    std::vector<Doubles> states = {kept.back()};  // states[k] is h before token begin + k
    for (int64_t t = begin; t < end; ++t) states.push_back(next(states.back(), t));
    for (int64_t t = end - 1; t >= begin; --t) {
      const auto k = static_cast<size_t>(t - begin);
      backward_token<T>(a, size, A, b * size.tokens + t, starts_document(a.doc_start, b, t), states[k],
                        states[k + 1], g, shared);
    }
    end = begin;
  }
  store_state<T>(g, a.dstate_in, b, size);
}

template <class T>
void backward(const ScanBackward& a) {
  const Sizes size(a.dt, a.A_log);
  const Doubles A = decay_rates<T>(a.A_log);
  SharedGradients shared{Doubles(size.state(), 0.0), Doubles(static_cast<size_t>(size.channels), 0.0)};
  for (int64_t b = 0; b < size.batch; ++b) backward_sequence<T>(a, size, A, b, shared);

  T* dA_log = a.dA_log.as<T>();
  for (size_t s = 0; s < A.size(); ++s) dA_log[s] += static_cast<T>(shared.A[s] * A[s]);  // dA/dA_log = A
  for (size_t i = 0; a.dD && i < shared.D.size(); ++i) a.dD.as<T>()[i] += static_cast<T>(shared.D[i]);
}

/// exp(A Σ dt) of sequence b, or zero where a document starts in it.
template <class T>
Doubles total_decay(View dt, View doc_start, const Doubles& A, int64_t b, const Sizes& size) {
  Doubles result(size.state(), 0.0);
  for (int64_t t = 0; t < size.tokens; ++t) {
    if (starts_document(doc_start, b, t)) return result;
  }
  for (int64_t i = 0; i < size.channels; ++i) {
    double sum = 0;
    for (int64_t t = 0; t < size.tokens; ++t) sum += static_cast<double>(dt.row<T>(b * size.tokens + t)[i]);
    for (int64_t n = 0; n < size.states; ++n) {
      const auto s = static_cast<size_t>(i * size.states + n);
      result[s] = std::exp(sum * A[s]);
    }
  }
  return result;
}

template <class T>
void summary(const ScanSummary& a) {
  const Sizes size(a.dt, a.A_log);
  const Doubles A = decay_rates<T>(a.A_log);
  for (int64_t b = 0; b < size.batch; ++b) {
    Doubles h(size.state(), 0.0);
    for (int64_t t = 0; t < size.tokens; ++t) {
      const int64_t row = b * size.tokens + t;
      advance(h, A, a.dt.row<T>(row), a.x.row<T>(row), a.B.row<T>(row), starts_document(a.doc_start, b, t),
              size);
    }
    store_state<T>(h, a.state, b, size);
    store_state<T>(total_decay<T>(a.dt, a.doc_start, A, b, size), a.decay, b, size);
  }
}

template <class T>
void summary_backward(const ScanSummaryBackward& a) {
  const Sizes size(a.dt, a.A_log);
  const Doubles A = decay_rates<T>(a.A_log);
  for (int64_t b = 0; b < size.batch; ++b) {
    Doubles g(size.state(), 0.0);
    for (int64_t t = size.tokens - 1; t >= 0; --t) {
      const int64_t row = b * size.tokens + t;
      const T *dt = a.dt.row<T>(row), *C = a.C.row<T>(row), *dy = a.dy.row<T>(row);
      const bool starts = starts_document(a.doc_start, b, t);
      for (int64_t i = 0; i < size.channels; ++i) {
        for (int64_t n = 0; n < size.states; ++n) {
          const auto s = static_cast<size_t>(i * size.states + n);
          g[s] = decay(static_cast<double>(dt[i]), A[s], starts) *
                 (g[s] + static_cast<double>(dy[i]) * static_cast<double>(C[n]));
        }
      }
    }
    store_state<T>(g, a.state, b, size);
    store_state<T>(total_decay<T>(a.dt, a.doc_start, A, b, size), a.decay, b, size);
  }
}

}  // namespace

void scan_forward(Context&, const ScanForward& args) {
  for_float(args.dt.dtype, [&](auto zero) { forward<decltype(zero)>(args); });
}

void scan_backward(Context&, const ScanBackward& args) {
  for_float(args.dt.dtype, [&](auto zero) { backward<decltype(zero)>(args); });
}

void scan_summary(Context&, const ScanSummary& args) {
  for_float(args.dt.dtype, [&](auto zero) { summary<decltype(zero)>(args); });
}

void scan_summary_backward(Context&, const ScanSummaryBackward& args) {
  for_float(args.dt.dtype, [&](auto zero) { summary_backward<decltype(zero)>(args); });
}

}  // namespace natrix::reference
